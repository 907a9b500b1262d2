/*
 * table.c - every option, in the order of the help
 */
#include "vmm/options/internal.h"

#define AT(member) offsetof(struct config, member)
#define LISTS(...) ((const struct opt_list *const[]){__VA_ARGS__, NULL})

/* Rows by kind: the name, what its argument looks like, ..., the help. */
#define HEADING(title)                                                                             \
	{                                                                                          \
		.name = (title), .kind = OPT_ROW_HEADING                                           \
	}
#define FLAG(n, member, text)                                                                      \
	{                                                                                          \
		(n), .kind = OPT_ROW_FLAG, .off = AT(member), .help = (text)                       \
	}
#define STRING(n, sketch, member, text)                                                            \
	{                                                                                          \
		(n), .arg = (sketch), .kind = OPT_ROW_STRING, .off = AT(member), .help = (text)    \
	}
#define CALL(n, sketch, fn, text)                                                                  \
	{                                                                                          \
		(n), .arg = (sketch), .kind = OPT_ROW_HANDLE, .handle = (fn), .help = (text)       \
	}
#define CALL_LISTS(n, sketch, fn, l, text)                                                         \
	{                                                                                          \
		(n), .arg = (sketch), .kind = OPT_ROW_HANDLE, .handle = (fn), .lists = (l),        \
		     .help = (text)                                                                \
	}
#define LIST(n, sketch, l, text)                                                                   \
	{                                                                                          \
		(n), .arg = (sketch), .kind = OPT_ROW_LIST, .lists = (l), .help = (text)           \
	}
#define NOTHING(n, text)                                                                           \
	{                                                                                          \
		(n), .kind = OPT_ROW_NOTHING, .help = (text)                                       \
	}
#define REFUSED(n, text)                                                                           \
	{                                                                                          \
		(n), .kind = OPT_ROW_REFUSED, .help = (text)                                       \
	}

const struct opt_row option_table[] = {
    HEADING("Machine"),
    CALL_LISTS("machine", "[type=]microvm|none[,prop=value...]", opt_machine,
	       LISTS(&opt_machine_list), "The board and its variant; -machine help lists them."),
    CALL("M", "[type=]microvm|none[,prop=value...]", opt_machine, "The same as -machine."),
    CALL_LISTS("accel", "kvm[,prop=value...]", opt_accel, LISTS(&opt_accel_list),
	       "The accelerator.  Given several times, kvm is taken if it is among them."),
    CALL("enable-kvm", NULL, opt_enable_kvm, "The same as -accel kvm."),
    CALL("cpu", "MODEL[,+F][,-F][,F=on|off...]", opt_cpu,
	 "The CPU model and changes to its features (default host: what this host and KVM have; "
	 "-cpu help lists the models).  Give both ends of a migration the same model, for "
	 "instance qemu64."),
    CALL_LISTS("smp", "[cpus=]N[,maxcpus=N][,sockets=N][,cores=N][,threads=N]", opt_smp,
	       LISTS(&opt_smp_list), "Virtual CPUs and their topology (default 1, at most 255)."),
    CALL_LISTS("m", "[size=]SIZE", opt_m, LISTS(&opt_m_list),
	       "Guest RAM (default 128 MiB; the unit is MiB)."),
    CALL_LISTS("object", "TYPE,id=ID[,prop=value...]", opt_object,
	       LISTS(&opt_memory_ram_list, &opt_memory_memfd_list, &opt_memory_file_list,
		     &opt_rng_random_list, &opt_rng_builtin_list, &opt_secret_list,
		     &opt_tls_x509_list, &opt_tls_psk_list, &opt_tls_anon_list,
		     &opt_authz_simple_list, &opt_authz_list_list, &opt_authz_file_list),
	       "What guest RAM is made of (memory-backend-ram, memory-backend-memfd, "
	       "memory-backend-file), where random bytes come from (rng-random, rng-builtin), a "
	       "secret, who an end of a migration over TLS is (tls-creds-x509, tls-creds-psk, "
	       "tls-creds-anon), or whom a destination lets in (authz-simple, authz-list, "
	       "authz-list-file).  Takes JSON."),
    CALL_LISTS("add-fd", "fd=N,set=N[,opaque=TEXT]", opt_add_fd, LISTS(&opt_add_fd_list),
	       "Add a descriptor that minivmm was started with to a set of them, which paths name "
	       "as /dev/fdset/N."),
    CALL("global", "DRIVER.PROPERTY=VALUE", opt_global,
	 "A default for a property of all devices of a kind.  migration.NAME=VALUE sets a "
	 "parameter or capability of migration, or "
	 "migration.exit-on-error=on|off; an unknown driver is warned about."),
    LIST("name", "[guest=]NAME[,process=NAME][,debug-threads=on|off]", LISTS(&opt_name_list),
	 "The guest's name."),
    CALL("uuid", "UUID", opt_uuid, "The guest's UUID, 8-4-4-4-12 hexadecimal digits."),

    HEADING("Boot"),
    STRING("kernel", "FILE", kernel,
	   "A bzImage, or an ELF kernel with a PVH entry or a Multiboot header."),
    STRING("initrd", "FILE", initrd, "The initial RAM disk; needs -kernel."),
    STRING("append", "TEXT", append, "The kernel's command line; needs -kernel."),
    STRING("bios", "FILE", bios, "The firmware image at the end of the first 4 GiB."),
    LIST("boot", "[order=]LETTERS[,strict=on|off]", LISTS(&opt_boot_list),
	 "Accepted without effect: there is no boot order."),

    HEADING("Disks"),
    CALL_LISTS("drive", "file=PATH[,format=raw|qcow2][,if=virtio|none][,id=ID]...", opt_drive,
	       LISTS(&opt_drive_list), "A disk image, and with if=virtio the disk too."),
    CALL_LISTS("blockdev", "driver=raw|qcow2|file,node-name=NAME,...", opt_blockdev,
	       LISTS(&opt_blockdev_raw_list, &opt_blockdev_qcow2_list, &opt_blockdev_file_list),
	       "A block node, for drive=NAME of a disk's -device.  Takes JSON."),
    CALL("device", "DRIVER[,id=ID][,prop=value...]", opt_device,
	 "A device; -device help lists the models, -device DRIVER,help a model's properties.  "
	 "Devices take the virtio slots from the highest down, in this order; disks of -drive "
	 "come last.  Takes JSON."),

    HEADING("Network"),
    CALL_LISTS("netdev", "tap|stream|user|passt,id=ID[,prop=value...]", opt_netdev,
	       LISTS(&opt_tap_list, &opt_stream_list, &opt_user_list, &opt_passt_list),
	       "Where a network card's frames go.  Takes JSON."),
    CALL_LISTS("nic", "none|TYPE[,model=NAME][,mac=MAC][,prop=value...]", opt_nic,
	       LISTS(&opt_nic_list),
	       "A network card and what is behind it, with the properties of -netdev TYPE; id= is "
	       "the back end's.  none: no network card, which is the default."),
    CALL("net", "none", opt_net, "The same as -nic none."),

    HEADING("Characters and monitors"),
    CALL_LISTS(
	"chardev", "null|stdio|file|socket|pty,id=ID[,prop=value...]", opt_chardev,
	LISTS(&opt_null_list, &opt_stdio_list, &opt_file_list, &opt_socket_list, &opt_pty_list),
	"A byte stream to the outside."),
    CALL("serial", "none|null|stdio|pty|file:PATH|unix:PATH|tcp:HOST:PORT|chardev:ID", opt_serial,
	 "The other end of the UART (default stdio; null when stdio has another use or with "
	 "-daemonize; none with -nodefaults).  unix: and tcp: take ,server=on and the other keys "
	 "of -chardev socket.  mon:stdio is stdio with ^C for the guest: there is no monitor to "
	 "switch to.  The chardev's id is serial0."),
    CALL("qmp", "null|stdio|unix:PATH|tcp:HOST:PORT|chardev:ID", opt_qmp,
	 "A QMP monitor, on a chardev that is called compat_monitor0, 1 and so on.  Written "
	 "like -serial."),
    CALL("qmp-pretty", "...", opt_qmp_pretty, "The same as -qmp, with indented output."),
    CALL_LISTS("mon", "[chardev=]ID,mode=control[,pretty=on|off]", opt_mon, LISTS(&opt_mon_list),
	       "A QMP monitor on a chardev."),
    CALL("monitor", "none", opt_monitor, "No human monitor; there never is one."),
    CALL("nographic", NULL, opt_nographic, "Without effect: the UART is on stdio anyway."),
    CALL("nodefaults", NULL, opt_nodefaults, "No UART on stdio unless -serial says so."),
    CALL("display", "none", opt_none_only, "No display; there never is one."),
    CALL("vga", "none", opt_none_only, "No graphics card; there never is one."),
    CALL("audiodev", "none[,id=ID]", opt_none_only, "No sound; there never is any."),
    CALL("parallel", "none", opt_none_only, "No parallel port; there never is one."),

    HEADING("Running"),
    CALL("incoming", "tcp:HOST:PORT|unix:PATH|fd:N|exec:COMMAND|file:PATH|{JSON}|defer",
	 opt_incoming,
	 "Do not start the guest: wait for one that migrates here, with defer until "
	 "migrate-incoming.  JSON is an object as in migrate-incoming's channels.  A load that "
	 "fails ends minivmm with status 1, unless "
	 "it is written behind exit-on-error=off, or defer."),
    STRING("loadvm", "TAG", loadvm,
	   "Start with the snapshot of that name, which all writable disks must have.  When it "
	   "cannot be loaded minivmm ends with status 1."),
    FLAG("S", paused, "Do not start the guest until QMP says cont."),
    FLAG("no-reboot", no_reboot, "End instead of rebooting: -action reboot=shutdown."),
    FLAG("no-shutdown", no_shutdown,
	 "Pause instead of ending when the guest powers off: -action shutdown=pause."),
    LIST("action", "EVENT=ACTION[,EVENT=ACTION...]", LISTS(&opt_action_list),
	 "What to do when the guest reboots, powers off or panics."),
    FLAG("only-migratable", only_migratable, "Refuse at start what could not be migrated later."),
    FLAG("daemonize", daemonize,
	 "Go to the background; the command returns when all sockets listen."),
    STRING("pidfile", "FILE", pidfile, "Write the process id there; removed at the end."),
    STRING("D", "FILE", logfile,
	   "Append messages to this file instead of stderr; SIGHUP opens it anew."),
    STRING("dump-vmstate", "FILE", dump_vmstate,
	   "Write the tables of the devices' state there, as JSON that QEMU's "
	   "scripts/vmstate-static-checker.py reads, and end."),
    LIST("msg", "timestamp=on|off", LISTS(&opt_msg_list), "The form of messages."),
    LIST("rtc", "[base=]utc[,clock=host]", LISTS(&opt_rtc_list),
	 "The guest's clock: only these values, which are the default, are supported."),
    LIST("overcommit", "mem-lock=off|cpu-pm=off", LISTS(&opt_overcommit_list),
	 "Use of the host: only these values, which are the default, are supported."),
    LIST("run-with", "exit-with-parent=on|off", LISTS(&opt_run_with_list),
	 "How minivmm runs as a process."),
    CALL("sandbox", "off", opt_sandbox, "System calls are not filtered; only off is supported."),
    NOTHING("no-user-config", "Accepted without effect: there are no configuration files."),

    HEADING("Texts"),
    CALL("help", NULL, opt_help, "This text."),
    CALL("h", NULL, opt_help, "The same as -help."),
    CALL("version", NULL, opt_version, "The version."),
    CALL("man", NULL, opt_man, "The manual page, as roff source."),
    CALL("completion", NULL, opt_completion,
	 "The completion of bash for this command line; source <(minivmm -completion)."),
    CALL("completion-zsh", NULL, opt_completion_zsh,
	 "The completion of zsh; source <(minivmm -completion-zsh) behind compinit."),
    CALL("qmp-reference", "md|man", opt_qmp_reference,
	 "The commands, events and types of QMP, as Markdown or as roff source."),

    REFUSED("acpitable", "the ACPI tables are those of the board"),
    REFUSED("audio", "the board has no sound"),
    REFUSED("cdrom", "use -drive file=...,readonly=on"),
    REFUSED("chroot", "start minivmm within it"),
    REFUSED("compat", "leave it out"),
    REFUSED("d", "messages are always complete"),
    REFUSED("debugcon", "use -serial"),
    REFUSED("dtb", "guests get the device tree that minivmm makes"),
    REFUSED("fda", "the board has no floppy; use -drive"),
    REFUSED("fdb", "the board has no floppy; use -drive"),
    REFUSED("full-screen", "there is no display"),
    REFUSED("fsdev", "use a disk or the network"),
    REFUSED("fw_cfg", "give data to the guest on a disk or in the initrd"),
    REFUSED("gdb", "there is no debugger's stub"),
    REFUSED("hda", "use -drive file=..."),
    REFUSED("hdb", "use -drive file=..."),
    REFUSED("hdc", "use -drive file=..."),
    REFUSED("hdd", "use -drive file=..."),
    REFUSED("icount", "the guest runs on KVM in real time"),
    REFUSED("iscsi", "use a raw file or block device"),
    REFUSED("mem-path", "use -object memory-backend-file"),
    REFUSED("mem-prealloc", "use -object memory-backend-ram with prealloc=on"),
    REFUSED("mtdblock", "use -drive file=..."),
    REFUSED("no-acpi", "guests find their devices through ACPI tables"),
    REFUSED("no-fd-bootchk", "leave it out"),
    REFUSED("no-hpet", "the board has no HPET; leave it out"),
    REFUSED("numa", "the board has one NUMA node"),
    REFUSED("option-rom", "kernels are started without an option ROM"),
    REFUSED("pflash", "use -bios"),
    REFUSED("plugin", "the guest runs on KVM"),
    REFUSED("preconfig", "use -S"),
    REFUSED("qtest", "there is no qtest protocol"),
    REFUSED("readconfig", "give options on the command line"),
    REFUSED("writeconfig", "give options on the command line"),
    REFUSED("runas", "start minivmm as that user"),
    REFUSED("s", "there is no debugger's stub"),
    REFUSED("sd", "use -drive file=..."),
    REFUSED("seed", "guests get the host's randomness"),
    REFUSED("set", "write the property where the object is made"),
    REFUSED("smbios", "the board has no SMBIOS tables"),
    REFUSED("snapshot", "writes go to the image; use a copy of it"),
    REFUSED("soundhw", "the board has no sound"),
    REFUSED("spice", "there is no display"),
    REFUSED("tpmdev", "the board has no TPM"),
    REFUSED("trace", "use the host's tracing, for instance perf trace"),
    REFUSED("usb", "the board has no USB controller"),
    REFUSED("usbdevice", "the board has no USB controller"),
    REFUSED("virtfs", "use a disk or the network"),
    REFUSED("vnc", "there is no display"),
    REFUSED("watchdog", "the board has no watchdog"),
    REFUSED("watchdog-action", "the board has no watchdog"),
    {.name = NULL},
};
