#!/usr/bin/env python3
"""Large transactions over several data groups: pieces in several logs, replayed ahead of their turn in one local transaction (src/pg/worker/bulk.c)."""
import signal

from large import *

GROUPS = 3

setup(nodes=3, init_options="data_groups => %d" % GROUPS, conf=["shared_buffers = 16MB", "nodedb.log_cache = 4", "nodedb.commit_timeout = 30000"])


@test
def tables_are_made(c):
	make(c, "CREATE TABLE large (id int PRIMARY KEY, n int, pad text)", "CREATE TABLE small (id bigint PRIMARY KEY, n int)",
		 "SELECT nodedb.create_distributed_table('large', 'id', 4)")
	c.execute(1, INSERT % (1, 1))
	judged(c)
	equal(c.value(1, "SELECT count(DISTINCT group_id) FROM nodedb.shards WHERE table_name::text LIKE 'large%'"), str(GROUPS))


for one in (others_commit_while_it_is_replayed, rolled_back_where_it_was_replayed, gives_way_to_an_earlier_entry, begins_when_what_the_origin_had_seen_is_there,
			waits_for_a_local_session_until_its_turn, node_is_killed_when_it_has_replayed_it, origin_is_killed_when_others_have_replayed_it):
	test(one)


@test
def its_ledger_rows_stand_with_its_rows(c):
	ledger_stands_with_its_rows(c, GROUPS)


@test
def bulk_applier_is_hit(c):
	hit(c, "bulk-waits", signal.SIGINT)
	hit(c, "bulk-read", signal.SIGTERM)
	hit(c, "bulk-commit", signal.SIGTERM, signal.SIGKILL)


@test
def small_parts_beside_large_ones(c):
	"""Parts without a piece, and one that only locks: they come with the MARKERs."""
	make(c, "CREATE TABLE other (id int PRIMARY KEY, n int)", "SELECT nodedb.place_table('other', 2)", "INSERT INTO other SELECT g, 0 FROM generate_series(1, 100) g",
		 "CREATE TABLE whole (id int PRIMARY KEY, pad text)", "SELECT nodedb.place_table('whole', 3)")
	before = {i: applied(c, i) for i in (2, 3)}
	with Session(c, 1, *SETTINGS) as session:
		equal(session.start("WITH x AS (INSERT INTO whole SELECT g, repeat(md5(g::text), 30) FROM generate_series(1, %d) g RETURNING id),"
							" y AS (UPDATE other SET n = 1 WHERE id <= 50) SELECT count(*) FROM x" % ROWS).end(), "ok")
	judged(c, "other", "whole")
	equal([applied(c, i) for i in (2, 3)], [before[i] + 1 for i in (2, 3)])
	equal([c.value(i, "SELECT sum(n) FROM other") for i in c], ["50"] * 3)


main()
