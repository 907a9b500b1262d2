# minivmm - the targets are: all demo check check-fast fuzz lint install clean (see README.md)
CC      ?= gcc
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
SAN     ?=
T       ?= 30

ARCH := $(shell uname -m)
ifneq ($(ARCH),x86_64)
$(error minivmm needs an x86-64 host: this machine is $(ARCH))
endif

VERSION := 0.1.0
WARN := -Wall -Wextra -Werror -Wshadow -Wvla -Wundef -Wformat=2 -Wpointer-arith -Wwrite-strings \
	-Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wnull-dereference \
	-Wimplicit-fallthrough -Wconversion -Wframe-larger-than=8192
PKGS := libuv json-c libfdt liburing zlib libzstd
OPT  ?= -O2
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS   := $(shell pkg-config --libs $(filter-out libfdt,$(PKGS)) 2>/dev/null) -lfdt
ALL_CFLAGS := -std=gnu11 $(OPT) -g -D_GNU_SOURCE -DMINIVMM_VERSION='"$(VERSION)"' -I. -MMD -MP -pthread \
	-fstack-protector-strong $(WARN) $(PKG_CFLAGS) $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer) $(CFLAGS)
ALL_LDFLAGS := -pthread $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)

DIRS := vmm/base vmm arch/x86 devices devices/virtio devices/block devices/net devices/chardev \
	migration migration/channel migration/stream migration/ram qmp qmp/commands
SRC  := $(sort $(foreach d,$(DIRS),$(wildcard $(d)/*.c)))
OBJ  := $(SRC:%.c=$(BUILD)/%.o)
LIB_OBJ := $(filter-out $(BUILD)/vmm/main.o,$(OBJ))
LIB  := $(BUILD)/libminivmm.a
BIN  := $(BUILD)/minivmm

.PHONY: all
all: $(BIN)

$(BIN): $(BUILD)/vmm/main.o $(LIB)
	$(CC) $(ALL_LDFLAGS) $^ $(PKG_LIBS) -o $@

$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c $< -o $@

# ---- unit tests: tests/unit/test-NAME.c, one Check program each ----
UNIT_SRC := $(wildcard tests/unit/test-*.c)
UNIT_BIN := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/unit/%)

.PHONY: unit-bins
unit-bins: $(UNIT_BIN)

$(BUILD)/unit/%: tests/unit/%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $< $(LIB) $(PKG_LIBS) $(shell pkg-config --libs check) -o $@

-include $(OBJ:.o=.d) $(UNIT_BIN:%=%.d)

.PHONY: clean
clean:
	rm -rf $(BUILD)
