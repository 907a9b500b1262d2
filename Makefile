# minivmm
#
#   make             build/minivmm, -img and -ctl        make demo        the main job, shown
#   make check       every test                          make check-fast  those without the lab
#   make check-all   every row of every table of tests
#   make bench       side by side with QEMU              make fuzz T=60   each fuzz target for T seconds
#                                                        make bench OLD=PATH   and with another build of it
#                                                        make bench PEER=11.1  with another QEMU
#   make lint        formats, clang-tidy, cppcheck...    make install     PREFIX, DESTDIR; make uninstall
#
# SAN=address,undefined builds with sanitizers; use another BUILD folder for it. Root's make installs
# first what is missing (scripts/setup), and NO_SETUP=1 keeps it from that; without root it is named.
# STRICT=1 makes a skip that tests/skips does not allow a failure.
CC      ?= gcc
BUILD   ?= build
# The same words for the same folder, or what was built by one name is never found out of date by another.
override BUILD := $(patsubst $(CURDIR)/%,%,$(BUILD))
PREFIX  ?= /usr/local
DESTDIR ?=
SAN     ?=
T       ?= 60

ARCH := $(shell uname -m)
ifneq ($(ARCH),x86_64)
$(error minivmm runs on x86-64 hosts only: this machine is $(ARCH))
endif

# ---- set-up: what is missing is installed first, then make looks again ----
GOALS := $(or $(MAKECMDGOALS),all)
GROUPS := $(if $(filter-out clean uninstall,$(GOALS)),build) $(if $(filter check check-all check-fast bench,$(GOALS)),check) \
	$(if $(filter check check-all demo,$(GOALS)),check guest lab) $(if $(filter lint fuzz check check-all,$(GOALS)),lint) $(if $(filter check-all,$(GOALS)),look)
ifneq ($(if $(NO_SETUP),,$(strip $(GROUPS))),)
SETUP := $(shell scripts/setup $(sort $(GROUPS)) >&2 || echo failed)
ifneq ($(SETUP),)
$(error what minivmm is built with is missing: the lines before this one name it)
endif
endif

VERSION := 0.1.0
# A compiler that knows more warnings than those that it was written with: WERROR=
WERROR ?= -Werror
WARN := -Wall -Wextra $(WERROR) -Wshadow -Wvla -Wundef -Wformat=2 -Wpointer-arith -Wwrite-strings \
	-Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wnull-dereference \
	-Wimplicit-fallthrough -Wconversion -Wframe-larger-than=8192
# STATIC=1 (make static): no shared library at all. WITHOUT=slirp leaves a library out, and with it what it is for, which
# is then refused by name; a static build does so with those that have no static form here (Debian's libslirp).
STATIC  ?=
lacks   = $(if $(filter /%,$(shell $(CC) -print-file-name=lib$1.a)),,$1)
WITHOUT ?= $(if $(STATIC),$(call lacks,slirp) gnutls)
PKGS := libuv json-c liburing zlib libzstd
OPT  ?= -O2
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
# libslirp: its .pc file wants the one of GLib, which its -dev package does not bring.
PKG_LIBS   := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lfdt $(if $(filter slirp,$(WITHOUT)),,-lslirp)
# The program holds these libraries itself, where their static form is installed (the -dev packages of
# Debian bring it): six files less to open, map and relocate before the guest's first byte, and fewer pages
# resident. SHARED=1 uses the shared ones. Relative relocations are packed, which are most of them.
SHARED ?= $(SAN)
archive = $(filter /%,$(foreach n,$(1:-l%=lib%.a) $(1:-l%=lib%_a.a),$(shell $(CC) -print-file-name=$(n))))
OWN_LIBS := $(if $(SHARED),$(PKG_LIBS),$(foreach l,$(PKG_LIBS),$(or $(if $(filter -l%,$l),$(firstword $(call archive,$l))),$l)))
PACKED := -Wl,-z,pack-relative-relocs
OWN_LDFLAGS := $(shell echo 'int main(void){return 0;}' | $(CC) $(PACKED) -Wl,--fatal-warnings -xc - -o /dev/null 2>/dev/null && echo $(PACKED))
BASE_CFLAGS := -std=gnu11 -g -D_GNU_SOURCE -DMINIVMM_VERSION='"$(VERSION)"' -I. -pthread $(PKG_CFLAGS) \
	$(if $(filter slirp,$(WITHOUT)),-DMINIVMM_WITHOUT_SLIRP)
# No warnings with sanitizers: what gcc says then is of the code that it has put in itself.
ALL_CFLAGS := $(BASE_CFLAGS) $(OPT) -MMD -MP -fstack-protector-strong $(WARN) \
	$(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -w) $(CPPFLAGS) $(CFLAGS)
ALL_LDFLAGS := -pthread $(if $(SAN),-fsanitize=$(SAN)) $(if $(STATIC),-static-pie) $(LDFLAGS)

DIRS := vmm/base vmm/memory vmm/options vmm arch/x86 devices devices/virtio devices/block devices/block/qcow2 devices/net \
	devices/chardev migration/settings migration/channel migration/tls migration/stream migration/ram \
	migration/ram/encode migration/ram/lazy migration/ram/mapped migration/ram/multifd migration/ram/postcopy \
	migration/peer \
	migration/outgoing migration/incoming migration/dirty migration/snapshot migration qmp qmp/commands img ctl
# What includes GnuTLS, which is opened at run time; without it migration/tls/without-gnutls.c is built instead.
FILES_gnutls := $(addprefix migration/tls/,certificate.c creds.c handshake.c library.c session.c shared-key.c verify.c x509.c)
LEFT_OUT := $(if $(filter slirp,$(WITHOUT)),devices/net/user.c devices/net/user-poll.c) \
	$(if $(filter gnutls,$(WITHOUT)),$(FILES_gnutls),migration/tls/without-gnutls.c)
SRC  := $(filter-out $(LEFT_OUT),$(sort $(foreach d,$(DIRS),$(wildcard $(d)/*.c))))
OBJ  := $(SRC:%.c=$(BUILD)/%.o)
LIB_OBJ := $(filter-out $(BUILD)/vmm/main.o $(BUILD)/img/main.o $(BUILD)/ctl/main.o,$(OBJ))
LIB  := $(BUILD)/libminivmm.a
BIN  := $(BUILD)/minivmm
IMG  := $(BUILD)/minivmm-img
CTL  := $(BUILD)/minivmm-ctl

.PHONY: all
all: $(BIN) $(IMG) $(CTL)

# What is asked for by its whole path, as scripts do, is the same file.
WHOLE := $(filter $(CURDIR)/%,$(MAKECMDGOALS))
ifneq ($(WHOLE),)
$(WHOLE): $(CURDIR)/%: % ;
endif

$(BIN): $(BUILD)/vmm/main.o $(LIB)
	@echo "  LD   $@"
	@$(CC) $(ALL_LDFLAGS) $(OWN_LDFLAGS) $^ $(OWN_LIBS) -o $@

$(IMG): $(BUILD)/img/main.o $(LIB)
	@echo "  LD   $@"
	@$(CC) $(ALL_LDFLAGS) $(OWN_LDFLAGS) $^ $(OWN_LIBS) -o $@

# Only this one, with its shell, needs readline.
$(CTL): $(BUILD)/ctl/main.o $(LIB)
	@echo "  LD   $@"
	@$(CC) $(ALL_LDFLAGS) $(OWN_LDFLAGS) $^ $(OWN_LIBS) -lreadline $(if $(STATIC),-ltinfo) -lm -o $@

# The programs in one file each, for an empty chroot or another distribution.
.PHONY: static
static:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/static STATIC=1 all

$(LIB): $(LIB_OBJ)
	@rm -f $@
	@$(AR) rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC   $<"
	@$(CC) $(ALL_CFLAGS) -c $< -o $@

# ---- unit tests: tests/unit/test-NAME.c, one Check program each ----
UNIT_SRC := $(wildcard tests/unit/test-*.c)
UNIT_BIN := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/unit/%)

.PHONY: unit-bins
unit-bins: $(UNIT_BIN)

$(BUILD)/unit/%: tests/unit/%.c $(LIB)
	@mkdir -p $(@D)
	@echo "  TEST $@"
	@$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $< $(LIB) $(PKG_LIBS) -lreadline -lm $(shell pkg-config --libs check 2>/dev/null) -o $@

# ---- minivmm with a disk that stops answering, or page faults that do, when a test says so ----
STALL := $(BUILD)/tests/minivmm-stall

$(STALL): tests/lib/stall.c $(BUILD)/vmm/main.o $(LIB)
	@mkdir -p $(@D)
	@echo "  LD   $@"
	@$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $^ $(PKG_LIBS) \
		-Wl,--wrap=preadv,--wrap=pwritev,--wrap=fdatasync,--wrap=io_uring_queue_init,--wrap=userfault_read -o $@

guests: $(STALL)

# ---- fuzz targets: tests/fuzz/fuzz-NAME.c, libFuzzer of clang, everything but main.o ----
FUZZ_SRC  := $(wildcard tests/fuzz/fuzz-*.c)
FUZZ_BIN  := $(FUZZ_SRC:tests/fuzz/%.c=$(BUILD)/fuzz/%)
FUZZ_SAN  := -O1 -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined
FUZZ_OBJ  := $(LIB_OBJ:$(BUILD)/%=$(BUILD)/fuzz/obj/%)

.PHONY: fuzz-bins fuzz
fuzz-bins: $(FUZZ_BIN)

$(BUILD)/fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	@clang $(BASE_CFLAGS) -MMD -MP $(FUZZ_SAN) -c $< -o $@

$(BUILD)/fuzz/libminivmm.a: $(FUZZ_OBJ)
	@rm -f $@
	@$(AR) rcs $@ $^

$(BUILD)/fuzz/%: tests/fuzz/%.c $(BUILD)/fuzz/libminivmm.a
	@echo "  FUZZ $@"
	@clang $(BASE_CFLAGS) -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined $< \
		$(BUILD)/fuzz/libminivmm.a $(PKG_LIBS) -lm -o $@

fuzz: fuzz-bins
	scripts/fuzz $(T) $(FUZZ_BIN)

# ---- tiny guests, and the probe that tells what /dev/kvm can run ----
include guest-images/guests.mk

$(BUILD)/kvm-probe: scripts/kvm-probe.c
	@mkdir -p $(@D)
	@$(CC) $(ALL_CFLAGS) $< -o $@

# ---- the commands ----
.PHONY: demo check check-all check-fast bench lint install uninstall clean
demo: $(BIN) $(IMG) $(CTL) $(BUILD)/kvm-probe
	BUILD=$(BUILD) scripts/demo

check: $(BIN) $(IMG) $(CTL) $(BUILD)/kvm-probe
	BUILD=$(BUILD) scripts/check $(STRICT:%=--strict)

check-all: $(BIN) $(IMG) $(CTL) $(BUILD)/kvm-probe
	BUILD=$(BUILD) scripts/check --all $(STRICT:%=--strict)

check-fast: $(BIN) $(IMG) $(CTL) $(BUILD)/kvm-probe
	BUILD=$(BUILD) scripts/check --fast $(STRICT:%=--strict)

bench: $(BIN) $(IMG) $(CTL) guests
	BUILD=$(BUILD) /usr/bin/python3 tests/bench/bench.py --out $(BUILD)/bench $(if $(OLD),--old $(OLD)) $(PEER:%=--peer %)

lint:
	scripts/lint

# ---- install, uninstall ----
SHARE    := $(DESTDIR)$(PREFIX)/share
BIN_DIR  := $(DESTDIR)$(PREFIX)/bin
MAN_DIR  := $(SHARE)/man
DOC_DIR  := $(SHARE)/doc/minivmm
BASH_DIR := $(SHARE)/bash-completion/completions
ZSH_DIR  ?= $(PREFIX)/share/zsh/site-functions
# Empty: without the unit of systemd.
UNIT_DIR ?= $(PREFIX)/lib/systemd/system
# The README's links work in there, too, as far as they lead to pages of docs/.
PAGES := README.md CHANGELOG.md CONTRIBUTING.md LICENSE $(wildcard docs/*.md docs/*.svg docs/interfaces/*.md)
EXAMPLES := packaging/minivmm.conf $(wildcard scripts/trace/*.bt) $(filter-out %.pyc,$(wildcard examples/*))
TEXTS := $(BUILD)/texts

# What the programs print of themselves.
.PHONY: texts
texts: $(BIN) $(IMG) $(CTL)
	@mkdir -p $(TEXTS)/bash $(TEXTS)/zsh $(TEXTS)/man1 $(TEXTS)/man7
	@$(BIN) -man >$(TEXTS)/man1/minivmm.1
	@$(IMG) --man >$(TEXTS)/man1/minivmm-img.1
	@$(CTL) --man >$(TEXTS)/man1/minivmm-ctl.1
	@$(BIN) -qmp-reference man >$(TEXTS)/man7/minivmm-qmp.7
	@$(BIN) -completion >$(TEXTS)/bash/minivmm
	@$(IMG) --completion >$(TEXTS)/bash/minivmm-img
	@$(CTL) --completion >$(TEXTS)/bash/minivmm-ctl
	@$(BIN) -completion-zsh >$(TEXTS)/zsh/_minivmm
	@$(IMG) --completion-zsh >$(TEXTS)/zsh/_minivmm-img
	@$(CTL) --completion-zsh >$(TEXTS)/zsh/_minivmm-ctl

install: texts
	install -d "$(BIN_DIR)" "$(MAN_DIR)/man1" "$(MAN_DIR)/man7" "$(DOC_DIR)/examples" "$(BASH_DIR)" "$(DESTDIR)$(ZSH_DIR)"
	install -m 755 $(BIN) $(IMG) $(CTL) "$(BIN_DIR)"
	install -m 644 $(TEXTS)/man1/* "$(MAN_DIR)/man1"
	install -m 644 $(TEXTS)/man7/* "$(MAN_DIR)/man7"
	install -m 644 $(TEXTS)/bash/* "$(BASH_DIR)"
	install -m 644 $(TEXTS)/zsh/* "$(DESTDIR)$(ZSH_DIR)"
	install -m 644 $(EXAMPLES) "$(DOC_DIR)/examples"
	for page in $(PAGES); do install -D -m 644 $$page "$(DOC_DIR)/$$page" || exit 1; done
ifneq ($(UNIT_DIR),)
	install -d "$(DESTDIR)$(UNIT_DIR)"
	sed 's|/usr/bin/|$(PREFIX)/bin/|' packaging/minivmm@.service >"$(DESTDIR)$(UNIT_DIR)/minivmm@.service"
endif

# What install has made, and no folder that others may use.
uninstall:
	for name in minivmm minivmm-img minivmm-ctl; do \
		rm -f "$(BIN_DIR)/$$name" "$(MAN_DIR)/man1/$$name.1" "$(BASH_DIR)/$$name" "$(DESTDIR)$(ZSH_DIR)/_$$name"; done
	rm -f "$(MAN_DIR)/man7/minivmm-qmp.7" $(if $(UNIT_DIR),"$(DESTDIR)$(UNIT_DIR)/minivmm@.service")
	rm -rf "$(DOC_DIR)"

clean:
	rm -rf $(BUILD)

-include $(OBJ:.o=.d) $(UNIT_BIN:%=%.d) $(FUZZ_OBJ:.o=.d)
