# Makefile: how nodedb is built, installed, shown and tested. `make help` lists the targets.
#
# What is built:
#   build/obj/libnodedb.a    all of src/ but src/pg and src/transport/grpc*.c; compiled without PostgreSQL's include path
#   nodedb.so                src/pg but src/pg/worker/raft_worker*.c: light, named in shared_preload_libraries
#   nodedb_logdump           src/tools/logdump*.c: reads the log of a node, for support
#   nodedb_worker.so         src/pg/worker/raft_worker*.c, src/transport/grpc*.c and the whole of libnodedb.a: only the raft worker loads it
# The tests build the same sources again in flavours of their own: build/san (sanitizers), build/mut (planted bugs), build/exp (the Raft core, small, for
# test/explore), build/fuzz (clang), build/cov (counted lines).
#
# Invariants:
# 1. Nothing outside src/pg sees a header of PostgreSQL: the compiler is not told where they are.
# 2. Both libraries hide what they took from libnodedb.a and bind their own symbols first, so that neither takes the other's copy.
# 3. Everything made lies in build/: `make clean` removes just that.

.DEFAULT_GOAL := help

PG_MAJOR   := 15
PG_CONFIG  ?= $(firstword $(wildcard /usr/lib/postgresql/$(PG_MAJOR)/bin/pg_config) pg_config)
PGXS       := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
JOBS       ?= $(shell nproc)
SUDO       := $(if $(filter 0,$(shell id -u)),,sudo)
WERROR     ?= -Werror
CLANG_FUZZ ?= clang-14
B          := build

EXTENSION  = nodedb
DATA       = $(wildcard sql/nodedb--*.sql)

ifneq ($(wildcard $(PGXS)),)
NO_INSTALLCHECK = 1
include $(PGXS)
endif

# ---- sources ----

CORE_SRC   := $(wildcard src/core/*/*.c src/store/*.c src/node/*.c) $(filter-out src/transport/grpc%,$(wildcard src/transport/*.c))
GRPC_SRC   := $(wildcard src/transport/grpc*.c)
WORKER_SRC := $(wildcard src/pg/worker/raft_worker*.c)
PG_SRC     := $(filter-out $(WORKER_SRC),$(wildcard src/pg/*.c src/pg/*/*.c))
PROTO      := $(wildcard src/core/wire/*.proto src/transport/*.proto)
PB         := $(patsubst %.proto,$(B)/gen/%.pb-c,$(notdir $(PROTO)))
PB_C       := $(addsuffix .c,$(PB))
PB_H       := $(addsuffix .h,$(PB))

# ---- flags ----

STD        := -std=c11 -D_GNU_SOURCE -pthread -fPIC -g -Wall -Wextra -Wno-format-truncation $(WERROR) -Isrc -I$(B)/gen -MMD -MP
FLAGS_obj  := -O2
FLAGS_san  := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
FLAGS_mut  := -O2 -DND_MUTANTS
FLAGS_exp  := -O2 -DND_MUTANTS -DRAFT_MEMBERS_MAX=4 -DRAFT_CONTEXT_MAX=1
FLAGS_cov  := -O0 --coverage -fprofile-update=atomic
FLAGS_fuzz := -O1 -Wno-unknown-warning-option -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
CC_obj     := gcc
CC_san     := gcc
CC_mut     := gcc
CC_exp     := gcc
CC_cov     := gcc
CC_fuzz    := $(CLANG_FUZZ)
CORE_LIBS  := -lprotobuf-c -lxxhash -pthread
GRPC_LIBS  := -lgrpc -lgpr
# PostgreSQL's own headers do not pass -Wextra without these three.
PG_FLAGS   := $(CPPFLAGS) $(CFLAGS) -std=gnu11 -fPIC -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers \
	-Wno-declaration-after-statement $(WERROR) -Isrc -Isrc/pg -I$(B)/gen -MMD -MP
SO_FLAGS   := -shared -Wl,-Bsymbolic -Wl,--exclude-libs,libnodedb.a -Wl,--as-needed -Wl,-z,relro -Wl,-z,now

# ---- rules ----

# Commands of the build are told by the name of what they make; V=1 shows them.
say = $(if $(V),,@echo "  $@";)

# $(call objects,FLAVOUR,SOURCES): sources below the repository or already in build/gen
objects = $(patsubst %.c,$(B)/$(1)/%.o,$(patsubst $(B)/%,%,$(2)))

define flavour
$(B)/$(1)/%.o: %.c | $(PB_H)
	@mkdir -p $$(@D)
	$$(say)$$(CC_$(1)) $(STD) $$(FLAGS_$(1)) -c -o $$@ $$<

$(B)/$(1)/gen/%.o: $(B)/gen/%.c
	@mkdir -p $$(@D)
	$$(say)$$(CC_$(1)) $(STD) $$(FLAGS_$(1)) -c -o $$@ $$<

# q, not r: two folders may hold files of one name
$(B)/$(1)/libnodedb.a: $(call objects,$(1),$(CORE_SRC) $(PB_C))
	@rm -f $$@
	$$(say)ar qcs $$@ $$^

# what test programs of several modules share: the memory disk, the allocator that fails
$(B)/$(1)/libtest.a: $(call objects,$(1),$(wildcard test/sim/memvfs*.c) test/unit/nomem_kit.c test/unit/count_kit.c)
	@rm -f $$@
	$$(say)ar qcs $$@ $$^
endef
$(foreach f,obj san mut exp cov fuzz,$(eval $(call flavour,$(f))))

$(B)/gen/%.pb-c.c $(B)/gen/%.pb-c.h: src/core/wire/%.proto
	@mkdir -p $(B)/gen
	$(say)protoc-c --proto_path=$(<D) --c_out=$(B)/gen $<

$(B)/gen/%.pb-c.c $(B)/gen/%.pb-c.h: src/transport/%.proto
	@mkdir -p $(B)/gen
	$(say)protoc-c --proto_path=$(<D) --c_out=$(B)/gen $<

$(B)/pg/%.o: %.c | $(PB_H)
	@mkdir -p $(@D)
	$(say)gcc $(PG_FLAGS) -c -o $@ $<

$(B)/nodedb.so: $(patsubst %.c,$(B)/pg/%.o,$(PG_SRC)) $(B)/obj/libnodedb.a
	$(say)gcc $(SO_FLAGS) -o $@ $^ -lxxhash

$(B)/nodedb_worker.so: $(patsubst %.c,$(B)/pg/%.o,$(WORKER_SRC)) $(call objects,obj,$(GRPC_SRC)) $(B)/obj/libnodedb.a
	$(say)gcc $(SO_FLAGS) -o $@ $(filter %.o,$^) -Wl,--whole-archive $(B)/obj/libnodedb.a -Wl,--no-whole-archive $(GRPC_LIBS) $(CORE_LIBS)

$(B)/nodedb_logdump: $(call objects,obj,$(wildcard src/tools/logdump*.c)) $(B)/obj/libnodedb.a
	$(say)gcc -o $@ $^ $(CORE_LIBS)

PROGRAMS_BUILT := $(B)/nodedb_logdump
SHLIBS := $(if $(PG_SRC),$(B)/nodedb.so) $(if $(WORKER_SRC),$(B)/nodedb_worker.so)

.PHONY: help deps all core install-shlibs uninstall-shlibs demo demo-stop test test-pg test-clients test-long test-build sim mutants explore explore-mutants spin bench bench-contention bench-hot bench-large bench-several bench-core fuzz fuzz-merge coverage format lint clean-build
.SECONDARY:
.DELETE_ON_ERROR:

help:
	@echo "make deps        install what building and testing needs (apt-get; only what is missing)"
	@echo "make all         build nodedb.so and nodedb_worker.so"
	@echo "make install     install them into PostgreSQL $(PG_MAJOR)       make uninstall: remove them"
	@echo "make demo        three nodes on this machine, pgbench on all, one killed; make demo-stop ends it"
	@echo "make test        everything: dependencies, build, install, unit, trace, simulator and cluster tests"
	@echo "                 ONLY='unit trace' runs some parts: lint unit corpus transport trace explore sim mutants fuzz pg isolation cluster suites"
	@echo "make test-pg     PostgreSQL's own regression and isolation suites on nodedb, compared with heap"
	@echo "make test-clients  psycopg, pgjdbc, node-postgres and Django on random nodes, two killed (installs them; CLIENTS='jdbc node' some)"
	@echo "make test-long   twenty kills in a row under load, 100,000 transactions while a node is away"
	@echo "make workload    random transactions on three nodes with kills for SECONDS (60); SEED=n for one choice, GROUPS=n data groups"
	@echo "make history     transfers and lists over eight data groups with faults for SECONDS (60), judged as histories; SEED=n likewise"
	@echo "make sim         simulated clusters on all cores for SIM_SECONDS (60); SEEDS=a..b these"
	@echo "                 SEED=n one, with its trace"
	@echo "make mutants     every planted bug must be caught by the simulator"
	@echo "make explore     every interleaving of a small Raft group, EXPLORE_SECONDS (120) for each bound; BOUND='x terms=2 ...' one of your own"
	@echo "make explore-mutants   the planted bugs of the Raft core that this finds"
	@echo "make spin        the models of the hand-over to the process that commits, and of the sequencer (installs spin)"
	@echo "make bench       nodedb beside plain PostgreSQL and synchronous streaming replication"
	@echo "make bench-contention  how often statements lose conflicts, against how hot the rows are"
	@echo "make bench-large what large transactions do to everybody else: pauses, memory"
	@echo "make bench-hot   one hot row from three nodes, 1 to 64 clients: nodedb.submit() beside clients that retry"
	@echo "make bench-several  transactions over several data groups, beside one group's and two-phase commit"
	@echo "make bench-core  the core alone"
	@echo "make fuzz        each libFuzzer target for FUZZ_SECONDS (30), from test/fuzz/corpus; make fuzz-merge: what it found of use goes there"
	@echo "make coverage    lines and branches of core, store and node that the fast tests run: table here, pages in build/coverage"
	@echo "make format      clang-format on FILES       make lint: the checks of test/lint"
	@echo "make clean       remove build/"

deps:
	@test/deps

core: $(B)/obj/libnodedb.a
all: core $(SHLIBS) $(PROGRAMS_BUILT)

install: install-shlibs
install-shlibs: $(SHLIBS) $(PROGRAMS_BUILT)
	mkdir -p '$(DESTDIR)$(pkglibdir)' '$(DESTDIR)$(bindir)'
	install -m 755 $(PROGRAMS_BUILT) '$(DESTDIR)$(bindir)/'
	install -m 755 $(SHLIBS) '$(DESTDIR)$(pkglibdir)/'
uninstall: uninstall-shlibs
uninstall-shlibs:
	rm -f '$(DESTDIR)$(bindir)/nodedb_logdump' '$(DESTDIR)$(pkglibdir)/nodedb.so' '$(DESTDIR)$(pkglibdir)/nodedb_worker.so'

ifeq ($(wildcard $(PGXS)),)
.PHONY: install uninstall clean
all install: need-postgres
need-postgres:
	@echo "PostgreSQL $(PG_MAJOR)'s build files are missing: run 'make deps', or name another pg_config by PG_CONFIG=" >&2; exit 1
endif

demo:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@$(SUDO) $(MAKE) --no-print-directory install >/dev/null
	@test/demo/demo.py run $(DEMO_ARGS)

demo-stop:
	@test/demo/demo.py stop

# ---- tests ----

UNIT_BIN      := $(patsubst %.c,$(B)/san/%,$(wildcard test/unit/test_*.c))
TRANSPORT_BIN := $(patsubst %.c,$(B)/san/%,$(wildcard test/transport/test_*.c))
TRACE_BIN     := $(if $(wildcard test/trace/trace.c),$(B)/san/test/trace/trace)
SIM_SRC       := $(filter-out test/sim/memvfs%,$(wildcard test/sim/*.c))
SIM_BIN       := $(if $(SIM_SRC),$(B)/obj/sim)
MUT_BIN       := $(if $(SIM_SRC),$(B)/mut/sim $(B)/mut/test/trace/trace $(addprefix $(B)/mut/test/unit/,test_store test_store_faults \
	test_store_random test_store_scrub test_raft test_raft_traps test_raft_members test_raft_random test_node test_node_member test_node_groups test_node_snapshot test_certifier test_certifier_order test_certifier_queue \
	test_node_grow test_node_several test_seq_world))
EXPLORE_SRC   := $(wildcard test/explore/*.c)
EXPLORE_BIN   := $(if $(EXPLORE_SRC),$(B)/exp/explore)
FUZZ_BIN      := $(patsubst test/fuzz/%.c,$(B)/fuzz/%,$(wildcard test/fuzz/fuzz_*.c))
REPLAY_BIN    := $(patsubst %.c,$(B)/san/%,$(wildcard test/fuzz/fuzz_*.c))
BENCH_BIN     := $(patsubst test/bench/%.c,$(B)/obj/%,$(wildcard test/bench/bench_*.c))

# test/unit/node_kit.c is shared by test_node.c and all test_node_*.c, and so on
.SECONDEXPANSION:
$(B)/san/test/unit/test_%: $(B)/san/test/unit/test_%.o $$(call objects,san,$$(wildcard test/unit/$$(firstword $$(subst _, ,$$*))_kit.c)) \
	$(B)/san/libtest.a $(B)/san/libnodedb.a
	$(say)gcc $(FLAGS_san) -o $@ $^ -lcmocka $(CORE_LIBS)

# the same with planted bugs, for the mutation gate: MUTANT=NAME build/mut/test/unit/test_x
$(B)/mut/test/unit/test_%: $(B)/mut/test/unit/test_%.o $$(call objects,mut,$$(wildcard test/unit/$$(firstword $$(subst _, ,$$*))_kit.c)) \
	$(B)/mut/test/unit/mutant_env.o $(B)/mut/libtest.a $(B)/mut/libnodedb.a
	$(say)gcc -o $@ $^ -lcmocka $(CORE_LIBS)

$(B)/mut/test/trace/trace: $(call objects,mut,$(wildcard test/trace/*.c)) $(B)/mut/test/unit/mutant_env.o $(B)/mut/libtest.a $(B)/mut/libnodedb.a
	$(say)gcc -o $@ $^ $(CORE_LIBS)

$(B)/san/test/transport/test_%: $(B)/san/test/transport/test_%.o $(call objects,san,$(GRPC_SRC)) $(B)/san/libtest.a $(B)/san/libnodedb.a
	$(say)gcc $(FLAGS_san) -o $@ $^ -lcmocka $(GRPC_LIBS) $(CORE_LIBS)

$(B)/san/test/trace/trace: $(call objects,san,$(wildcard test/trace/*.c)) $(B)/san/libtest.a $(B)/san/libnodedb.a
	$(say)gcc $(FLAGS_san) -o $@ $^ $(CORE_LIBS)

$(B)/obj/sim: $(call objects,obj,$(SIM_SRC)) $(B)/obj/libtest.a $(B)/obj/libnodedb.a
	$(say)gcc -o $@ $^ $(CORE_LIBS)

# under the sanitizers: build/san/sim --seeds A..B, after changes of the simulator itself
$(B)/san/sim: $(call objects,san,$(SIM_SRC)) $(B)/san/libtest.a $(B)/san/libnodedb.a
	$(say)gcc $(FLAGS_san) -o $@ $^ $(CORE_LIBS)

$(B)/mut/sim: $(call objects,mut,$(SIM_SRC)) $(B)/mut/libtest.a $(B)/mut/libnodedb.a
	$(say)gcc -o $@ $^ $(CORE_LIBS)

$(B)/exp/explore: $(call objects,exp,$(EXPLORE_SRC) $(wildcard src/core/raft/*.c src/core/base/*.c))
	$(say)gcc -o $@ $^ $(CORE_LIBS)

# what a fuzz target needs beyond libnodedb.a
FUZZ_SRC_logdump_body := src/tools/logdump_body.c
FUZZ_SRC_hello        := src/transport/grpc_handshake.c
FUZZ_LIBS_hello       := $(GRPC_LIBS)

$(B)/fuzz/fuzz_%: $(B)/fuzz/test/fuzz/fuzz_%.o $$(call objects,fuzz,$$(FUZZ_SRC_$$*)) $(B)/fuzz/libtest.a $(B)/fuzz/libnodedb.a
	$(say)$(CC_fuzz) $(FLAGS_fuzz) -fsanitize=fuzzer -o $@ $^ $(FUZZ_LIBS_$*) $(CORE_LIBS)

# the same target without libFuzzer: runs the files that it is given
$(B)/san/test/fuzz/fuzz_%: $(B)/san/test/fuzz/fuzz_%.o $(B)/san/test/fuzz/replay.o $$(call objects,san,$$(FUZZ_SRC_$$*)) $(B)/san/libtest.a \
	$(B)/san/libnodedb.a
	$(say)gcc $(FLAGS_san) -o $@ $^ $(FUZZ_LIBS_$*) $(CORE_LIBS)

$(B)/fuzz/seeds: $(B)/fuzz/test/fuzz/seeds.o $(B)/fuzz/libtest.a $(B)/fuzz/libnodedb.a
	$(say)$(CC_fuzz) $(FLAGS_fuzz) -fsanitize=address,undefined -o $@ $^ $(CORE_LIBS)

# everything that runs without a server and in seconds, with its lines counted
COV_BIN := $(patsubst %.c,$(B)/cov/%,$(wildcard test/unit/test_*.c test/fuzz/fuzz_*.c) test/trace/trace.c) $(B)/cov/sim
$(B)/cov/test/unit/test_%: $(B)/cov/test/unit/test_%.o $$(call objects,cov,$$(wildcard test/unit/$$(firstword $$(subst _, ,$$*))_kit.c)) \
	$(B)/cov/libtest.a $(B)/cov/libnodedb.a
	$(say)gcc $(FLAGS_cov) -o $@ $^ -lcmocka $(CORE_LIBS)

$(B)/cov/test/fuzz/fuzz_%: $(B)/cov/test/fuzz/fuzz_%.o $(B)/cov/test/fuzz/replay.o $$(call objects,cov,$$(FUZZ_SRC_$$*)) $(B)/cov/libtest.a \
	$(B)/cov/libnodedb.a
	$(say)gcc $(FLAGS_cov) -o $@ $^ $(FUZZ_LIBS_$*) $(CORE_LIBS)

$(B)/cov/test/trace/trace: $(call objects,cov,$(wildcard test/trace/*.c)) $(B)/cov/libtest.a $(B)/cov/libnodedb.a
	$(say)gcc $(FLAGS_cov) -o $@ $^ $(CORE_LIBS)

$(B)/cov/sim: $(call objects,cov,$(SIM_SRC)) $(B)/cov/libtest.a $(B)/cov/libnodedb.a
	$(say)gcc $(FLAGS_cov) -o $@ $^ $(CORE_LIBS)

$(B)/obj/bench_%: $(B)/obj/test/bench/bench_%.o $(B)/obj/libtest.a $(B)/obj/libnodedb.a
	$(say)gcc -o $@ $^ $(CORE_LIBS)

# -k and no error here: a program that does not build is one failed test of test/run, not the end of all the others
test-build:
	-@$(MAKE) --no-print-directory -k -j$(JOBS) test-programs
.PHONY: test-programs
test-programs: $(UNIT_BIN) $(TRANSPORT_BIN) $(TRACE_BIN) $(EXPLORE_BIN) $(SIM_BIN) $(MUT_BIN) $(REPLAY_BIN)

test:
	@$(MAKE) --no-print-directory deps
	@mkdir -p $(B)/test-logs
	@test/run $(ONLY)

# PostgreSQL's own tests; needs the network once, for their sources.
test-pg:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@$(SUDO) $(MAKE) --no-print-directory install >/dev/null
	@test/pg-suite/run $(PG_SUITE_ARGS)

# Clients of other projects: what they need is not installed for `make test`.
test-clients:
	@$(MAKE) --no-print-directory deps
	@test/deps clients
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@$(SUDO) $(MAKE) --no-print-directory install >/dev/null
	@test/clients/run $(CLIENTS)

# Long runs of tests that have a short form in `make test`.
test-long:
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@$(SUDO) $(MAKE) --no-print-directory install >/dev/null
	@NODEDB_LONG=1 test/t/050_many_kills.py

workload:
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@$(SUDO) $(MAKE) --no-print-directory install >/dev/null
	@test/workload/run --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED)) $(if $(GROUPS),--groups $(GROUPS))

history:
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@$(SUDO) $(MAKE) --no-print-directory install >/dev/null
	@test/history/run --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED))
.PHONY: workload history

SEED        ?=
SEEDS       ?=
SIM_SECONDS ?= 60
# without seeds: new ones each time
sim: $(SIM_BIN)
	$(SIM_BIN) $(if $(SEED),--seed $(SEED) --trace,--jobs $(JOBS) $(if $(SEEDS),--seeds $(SEEDS),--seconds $(SIM_SECONDS) --from $(shell date +%s)0000))

mutants: $(MUT_BIN)
	test/sim/mutants.sh

BOUND           ?= every
EXPLORE_SECONDS ?= 120
EXPLORE_MEMORY  ?= 2048
explore: $(EXPLORE_BIN)
	$(EXPLORE_BIN) --seconds $(EXPLORE_SECONDS) --memory $(EXPLORE_MEMORY) '$(BOUND)'

explore-mutants: $(EXPLORE_BIN)
	test/explore/mutants.sh

spin:
	@test/deps spin
	test/spin/run.sh

bench:
	@test/bench/run.py $(BENCH_ARGS)

bench-contention:
	@test/bench/contention.py $(BENCH_ARGS)

bench-large:
	@test/bench/large.py $(BENCH_ARGS)

bench-hot:
	@test/bench/hotrow.py $(BENCH_ARGS)

bench-several:
	@test/bench/several.py $(BENCH_ARGS)

bench-core: $(BENCH_BIN)
	@for p in $(BENCH_BIN); do $$p || exit 1; done

FUZZ_SECONDS ?= 30
fuzz: $(FUZZ_BIN) $(B)/fuzz/seeds
	@test/fuzz/run $(FUZZ_SECONDS) $(FUZZ_BIN)

fuzz-merge: $(FUZZ_BIN)
	@test/fuzz/run merge $(FUZZ_BIN)

coverage:
	@test/deps coverage
	@$(MAKE) --no-print-directory -j$(JOBS) coverage-programs
	@test/coverage
.PHONY: coverage-programs
coverage-programs: $(COV_BIN)

FILES ?= $(shell git diff --name-only --diff-filter=d HEAD -- 'src/*.[ch]' 'test/*.[ch]')
format:
	$(if $(strip $(FILES)),clang-format-14 -i $(FILES),@echo "nothing changed; name files by FILES=")

lint:
	@test/lint/lint

clean: clean-build
clean-build:
	rm -rf $(B)

-include $(shell find $(B) -name '*.d' 2>/dev/null)
