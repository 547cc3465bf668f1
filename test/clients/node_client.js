// node-postgres, with idempotency keys. It knows no several hosts: we try them in turn, as its users do. Last line: the number of units that were acknowledged.
'use strict';
const { Client, Pool } = require('pg');

const NODES = JSON.parse(process.env.NODES);
const enough = () => require('fs').existsSync(process.env.STOP);
const PASSING = /^(40001|40003|40P01|57P0[123]|08...)$/;
const options = node => ({ host: node.host, port: node.port, user: 'postgres', database: 'nodedb', connectionTimeoutMillis: 10000 });
const shuffled = () => NODES.map(node => [Math.random(), node]).sort((a, b) => a[0] - b[0]).map(pair => pair[1]);

function wanted(condition, what) {
  if (!condition) throw new Error('wanted: ' + what);
}

// Errors of the server have a SQLSTATE; a lost connection has a code of the system, or none at all.
function passes(error) {
  if (/^[0-9A-Z]{5}$/.test(error.code) && error.severity) return PASSING.test(error.code);
  return !String(error.message).startsWith('wanted');
}

// work(node, ...) until it passes; it has to be harmless to repeat
async function again(work) {
  let last;
  for (let attempt = 0; attempt < 300; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!passes(error)) throw error;
      last = error;
      await new Promise(done => setTimeout(done, Math.random() * Math.min(500, 10 * (attempt + 1))));
    }
  }
  throw last;
}

async function connect() {
  let last;
  for (const node of shuffled()) {
    const client = new Client(options(node));
    client.on('error', () => {});
    try {
      await client.connect();
      return client;
    } catch (error) {
      if (error.severity && error.code !== '57P03') throw error;
      last = error;
    }
  }
  throw last;
}

const withClient = work => again(async () => {
  const client = await connect();
  try {
    return await work(client);
  } finally {
    await client.end().catch(() => {});
  }
});

const unit = number => withClient(async client => {
  try {
    await client.query('BEGIN');
    await client.query(`SET LOCAL nodedb.idempotency_key = 'node ${number}'`);
    await client.query({ name: 'put', text: 'INSERT INTO client_node_done VALUES ($1)', values: [number] });
    await client.query({ name: 'add', text: 'UPDATE client_node_sum SET n = n + 1 WHERE k = $1', values: [number % 5] });
    await client.query('COMMIT');
  } catch (error) {
    if (error.code !== 'ND001') throw error;
  }
});

const types = () => withClient(async client => {
  const values = [true, '-4611686018427387904', '0.000000000000000000000000000001', new Date('2024-02-29T23:59:59.999Z'), Buffer.from([0, 255]), { x: [1, null, 'ä'] },
    [1, null, 3], 0.1];
  await client.query('BEGIN');
  await client.query('DELETE FROM client_node_types');
  for (let n = 0; n < 2; n++)
    await client.query({ name: 'types', text: 'INSERT INTO client_node_types VALUES ($1, $2, $3, $4, $5, $6, $7, $8)', values });
  await client.query('COMMIT');
  const back = await client.query({ name: 'back', text: 'SELECT * FROM client_node_types', rowMode: 'array' });
  wanted(back.rows.length === 2, 'two rows');
  for (const row of back.rows) wanted(JSON.stringify(row) === JSON.stringify(values), JSON.stringify(row));
});

const savepoints = () => withClient(async client => {
  await client.query('BEGIN ISOLATION LEVEL SERIALIZABLE');
  await client.query('SELECT count(*) FROM client_node_types');
  await client.query('DELETE FROM client_node_pool WHERE id = -1');
  await client.query('INSERT INTO client_node_pool VALUES (-1)');
  await client.query('SAVEPOINT s');
  const code = await client.query('INSERT INTO client_node_pool VALUES (-1)').then(() => 'none', error => error.code);
  if (code !== '23505') throw Object.assign(new Error('a duplicate: ' + code), { code, severity: 'ERROR' });
  await client.query('ROLLBACK TO s');
  await client.query('COMMIT');
});

// LISTEN and NOTIFY are of one node
const notifications = () => withClient(async client => {
  const heard = new Promise(done => client.on('notification', message => done(message.payload)));
  await client.query('LISTEN client');
  await client.query("NOTIFY client, 'hello'");
  wanted(await heard === 'hello', 'hello');
});

const pools = () => again(async () => {
  const pool = new Pool({ ...options(shuffled()[0]), max: 4 });
  pool.on('error', () => {});
  try {
    await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map(id => pool.query('INSERT INTO client_node_pool VALUES ($1) ON CONFLICT DO NOTHING', [id])));
  } finally {
    await pool.end();
  }
});

async function main() {
  await withClient(client => client.query(`
    CREATE TABLE IF NOT EXISTS client_node_pool (id int PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS client_node_types (a bool, b bigint, c numeric, d timestamptz, e bytea, f jsonb, g int[], h float8)`));
  const others = [types, savepoints, notifications, pools];
  let number = 0;
  for (; !enough(); number++) {
    await unit(number);
    if (number % 10 === 9) await others[Math.floor(number / 10) % others.length]();
  }
  console.log(number);
}

main().catch(error => {
  console.error(error);
  process.exit(1);
});
