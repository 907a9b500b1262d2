# guests.mk - tiny guests into $(BUILD)/guests/NAME.elf; one C file each, on top of the shared ones
GUEST_DIR    ?= guest-images
GUEST_NAMES  := hello cpuid devices counter idle hostile balloon requester smp-counter writer disk ports generation clock scribble toucher
GUEST_SHARED := start lib cpu virtio
GUEST_OUT    := $(BUILD)/guests
GUEST_ELF    := $(GUEST_NAMES:%=$(GUEST_OUT)/%.elf)
GUEST_CFLAGS := -std=gnu11 -O2 -g0 -ffreestanding -fno-pic -fno-stack-protector -fcf-protection=none \
	-fno-asynchronous-unwind-tables -fno-strict-aliasing -mno-red-zone -mgeneral-regs-only -MMD -MP \
	-Wall -Wextra -Werror -Wshadow -Wvla -Wundef -Wpointer-arith -Wwrite-strings -Wstrict-prototypes \
	-Wmissing-prototypes -Wold-style-definition -Wimplicit-fallthrough -Wconversion -Wno-array-bounds

.PHONY: guests
guests: $(GUEST_ELF)

$(GUEST_OUT)/%.o: $(GUEST_DIR)/%.c
	@mkdir -p $(@D)
	$(CC) $(GUEST_CFLAGS) -c $< -o $@

$(GUEST_OUT)/%.o: $(GUEST_DIR)/%.S
	@mkdir -p $(@D)
	$(CC) -c $< -o $@

$(GUEST_OUT)/%.elf: $(GUEST_OUT)/%.o $(GUEST_SHARED:%=$(GUEST_OUT)/%.o) $(GUEST_DIR)/guest.lds
	$(CC) -nostdlib -static -Wl,--build-id=none,--no-warn-rwx-segments,-n,-T,$(GUEST_DIR)/guest.lds \
		$(filter %.o,$^) -o $@

.SECONDARY: $(GUEST_NAMES:%=$(GUEST_OUT)/%.o) $(GUEST_SHARED:%=$(GUEST_OUT)/%.o)
-include $(wildcard $(GUEST_OUT)/*.d)
$(GUEST_OUT)/devices.elf: $(addprefix $(GUEST_OUT)/,check-pic.o check-platform.o check-virtio.o check-acpi.o)
$(GUEST_OUT)/counter.elf $(GUEST_OUT)/smp-counter.elf: $(GUEST_OUT)/counting.o
