#!/usr/bin/python3
"""Django: all migrations of its own applications, models of ours that migrations change, and its ORM. Last line: the number of units that were acknowledged."""
import json
import random

import django
from django.conf import settings
from django.core.management import call_command

import client

# One alias for each node that may come first: Django hands host and port to libpq as they are.
ALIASES = ("default", "two", "three")


def database(n):
	order = client.NODES[n:] + client.NODES[:n]
	return {"ENGINE": "django.db.backends.postgresql", "NAME": "nodedb", "USER": "postgres", "HOST": ",".join(node["host"] for node in order),
			"PORT": ",".join(str(node["port"]) for node in order), "OPTIONS": {"connect_timeout": 10}}


settings.configure(
	INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "django.contrib.admin", "django.contrib.sites"], SITE_ID=1,
	USE_TZ=True, SECRET_KEY="not a secret", DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", DATABASES={alias: database(n) for n, alias in enumerate(ALIASES)})
django.setup()

from django.contrib.auth.models import Group, User  # noqa: E402
from django.db import connections, migrations, models, transaction  # noqa: E402
from django.db.migrations.executor import MigrationExecutor  # noqa: E402
from django.db.migrations.recorder import MigrationRecorder  # noqa: E402
from django.db.migrations.state import ProjectState  # noqa: E402
from django.db.utils import Error, IntegrityError  # noqa: E402


def code_of(error):
	return getattr(error.__cause__, "pgcode", None)


def again(work):
	"""work(alias) until it passes, each time on whatever node."""
	def attempt():
		alias = random.choice(ALIASES)
		try:
			return work(alias)
		except Error:
			connections[alias].close()
			raise
	return client.again(attempt, code_of, Error)


# ---- migrations of ours: one transaction each, with the row in django_migrations that says that it was applied ----

FIELDS = [("id", models.BigAutoField(primary_key=True)), ("op", models.IntegerField()), ("name", models.CharField(max_length=50, unique=True))]
MIGRATIONS = [
	[migrations.CreateModel("Place", [("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=20, unique=True)), ("n", models.IntegerField(default=0))],
							{"db_table": "client_django_sum"}),
	 migrations.CreateModel("Done", FIELDS + [("place", models.ForeignKey("client.Place", models.CASCADE))], {"db_table": "client_django_done"})],
	[migrations.AddField("Done", "note", models.TextField(default="new")), migrations.AlterField("Place", "n", models.BigIntegerField(default=0))],
	[migrations.AddIndex("Done", models.Index(fields=["note", "op"], name="client_django_note")),
	 migrations.AddConstraint("Done", models.CheckConstraint(check=models.Q(op__gte=0), name="client_django_op")),
	 migrations.RenameField("Done", "note", "remark")],
]


# unit of work: the migration before it, while one node is away and when it is back
MOMENTS = {60: 1, 120: 2}


def migrate(number, state):
	"""Apply it unless it was; the state of the models behind it."""
	name = "%04d" % (number + 1)
	migration = migrations.Migration(name, "client")
	migration.operations = MIGRATIONS[number]

	def work(alias):
		recorder = MigrationRecorder(connections[alias])
		if ("client", name) not in recorder.applied_migrations():
			MigrationExecutor(connections[alias]).apply_migration(state.clone(), migration)
	again(work)
	return migration.mutate_state(state)


# ---- the ORM ----

def unit(state, number):
	"""Not harmless to repeat: with an idempotency key."""
	Place, Done = state.apps.get_model("client", "Place"), state.apps.get_model("client", "Done")

	def work(alias):
		try:
			with transaction.atomic(using=alias):
				with connections[alias].cursor() as cursor:
					cursor.execute("SET LOCAL nodedb.idempotency_key = %s", ["django %d" % number])
				place = Place.objects.using(alias).get(name="place %d" % (number % 3))
				Done.objects.using(alias).create(op=number, name="unit %d" % number, place=place)
				try:
					with transaction.atomic(using=alias):
						Done.objects.using(alias).create(op=number, name="unit %d" % number, place=place)
					raise AssertionError("a duplicate passed")
				except IntegrityError:
					pass
				Place.objects.using(alias).filter(pk=place.pk).update(n=models.F("n") + 1)
		except Error as error:
			if code_of(error) != "ND001":
				raise
	again(work)


def people(n):
	def work(alias):
		with transaction.atomic(using=alias):
			user = User.objects.using(alias).update_or_create(username="user %d" % n, defaults={"email": "u@example.org"})[0]
			user.groups.add(Group.objects.using(alias).get_or_create(name="group")[0])
	again(work)


def main():
	again(lambda alias: call_command("migrate", database=alias, verbosity=0))
	state = migrate(0, ProjectState())
	Place = state.apps.get_model("client", "Place")
	for n in range(3):
		again(lambda alias: Place.objects.using(alias).get_or_create(name="place %d" % n))
	for number in client.units():
		if number in MOMENTS:
			state = migrate(MOMENTS[number], state)
		unit(state, number)
		if number % 10 == 0:
			people(number)
	Done = state.apps.get_model("client", "Done")
	units = number + 1
	assert again(lambda alias: User.objects.using(alias).filter(groups__name="group").count()) == (units + 9) // 10
	assert again(lambda alias: Done.objects.using(alias).filter(remark="new", place__name__startswith="place").count()) == units
	per_place = again(lambda alias: list(Done.objects.using(alias).values("place__name").annotate(n=models.Count("pk")).order_by("place__name")))
	assert sum(row["n"] for row in per_place) == units, json.dumps(per_place)
	print(units)


main()
