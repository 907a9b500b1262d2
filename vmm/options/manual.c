/*
 * manual.c - minivmm(1): the tables of options and devices, what higher floors add, and
 * the chapters that are plain text
 */
#include "vmm/base/roff.h"
#include "vmm/base/units.h"
#include "vmm/base/version.h"
#include "vmm/options/internal.h"
#include "vmm/options/options.h"

static void man_props(FILE *out, const struct opt_prop *props)
{
	for (const struct opt_prop *pr = props; pr->key; pr++) {
		CLEANUP(cleanup_free) char *text = NULL;

		if (!opt_is_shown(pr))
			continue;
		text = opt_describe(pr);
		(void)fputs(".TP\n.RI \"", out);
		roff_text(out, pr->key);
		(void)fputs("=\" \"", out);
		roff_text(out, opt_sketch(pr));
		(void)fputs("\"\n", out);
		roff_line(out, text);
	}
}

static void man_list(FILE *out, const struct opt_list *list)
{
	(void)fputs(".RS\n.PP\n.B ", out);
	roff_line(out, list->title);
	man_props(out, list->props);
	(void)fputs(".RE\n", out);
}

/* Alternatives; a line may be broken behind each. */
static void man_sketch(FILE *out, const char *sketch)
{
	for (; *sketch; sketch++) {
		roff_text(out, (char[]){*sketch, '\0'});
		if (*sketch == '|')
			(void)fputs("\\:", out);
	}
}

static void man_row(FILE *out, const struct opt_row *r)
{
	(void)fputs(".TP\n.BR \"\\-", out);
	roff_text(out, r->name);
	(void)fputc('"', out);
	if (r->arg) {
		(void)fputs(" \" ", out);
		man_sketch(out, r->arg);
		(void)fputc('"', out);
	}
	(void)fputc('\n', out);
	roff_line(out, r->help);
	for (size_t i = 0; r->lists && r->lists[i]; i++)
		man_list(out, r->lists[i]);
}

static void man_refused(FILE *out)
{
	(void)fputs(".SH OPTIONS OF QEMU THAT ARE REFUSED\n"
		    "Each of these is refused with a message that says what to use.\n",
		    out);
	for (const struct opt_row *r = option_table; r->name; r++) {
		if (r->kind != OPT_ROW_REFUSED)
			continue;
		(void)fputs(".TP\n.B \\-", out);
		roff_line(out, r->name);
		roff_line(out, r->help);
	}
}

static void man_devices(FILE *out, const struct device_table *devices)
{
	(void)fputs(".SH DEVICES\n"
		    "The models of \\-device and their properties, which \\-global sets for all\n"
		    "devices of a model.\n",
		    out);
	for (const struct device_row *const *r = devices->rows; *r; r++) {
		(void)fputs(".SS ", out);
		roff_line(out, (*r)->name);
		roff_line(out, (*r)->help);
		man_props(out, (*r)->props);
	}
}

static void man_item(void *opaque, const char *name, const char *values, const char *help)
{
	FILE *out = opaque;

	(void)fputs(".TP\n.BR \"", out);
	roff_text(out, name);
	(void)fputs("\" \" ", out);
	roff_text(out, values);
	(void)fputs("\"\n", out);
	roff_line(out, help);
}

static const char opening[] =
    ".SH NAME\n"
    "minivmm \\- run and move virtual machines on KVM\n"
    ".SH SYNOPSIS\n"
    ".B minivmm\n"
    "\\-kernel\n"
    ".I FILE\n"
    "[\\-initrd\n"
    ".IR FILE ]\n"
    "[\\-append\n"
    ".IR TEXT ]\n"
    "[\\-m\n"
    ".IR SIZE ]\n"
    "[\\-smp\n"
    ".IR N ]\n"
    ".RI [ option ]...\n"
    ".RI [ disk\\ image ]\n"
    ".SH DESCRIPTION\n"
    ".B minivmm\n"
    "boots a Linux kernel on the microvm board and moves the running guest: to\n"
    "another process or host, or into a file.  It takes the command line of QEMU\n"
    "for that board.  An option, a key or a value that is not supported is\n"
    "refused by name.\n"
    ".PP\n"
    "Options take one dash or two; the argument is the next word.  In a list\n"
    ".IR key = value , key = value\n"
    "a comma within a value is written twice, and where it says so the first key\n"
    "may be left out.  \\-blockdev, \\-device, \\-netdev and \\-object also take a\n"
    "JSON object.  Sizes take the suffixes k, M, G, T, P and E, powers of 1024.\n"
    "A scalar that is given twice has the later value; lists grow.\n"
    "A word that is not an option is a raw disk image for a virtio disk.\n"
    ".SH OPTIONS\n";

static const char closing[] =
    ".SH TERMINAL\n"
    "Without \\-serial the guest's serial port is on standard input and output.  A\n"
    "terminal there becomes raw when the guest starts, so that the guest sees every\n"
    "key; it is restored at the end, and while minivmm is stopped by SIGTSTP.\n"
    ".TP\n.B Ctrl\\-a x\nend minivmm\n"
    ".TP\n.B Ctrl\\-a h\nlist these keys\n"
    ".TP\n.B Ctrl\\-a Ctrl\\-a\nsend Ctrl\\-a to the guest\n"
    ".SH SIGNALS\n"
    ".TP\n.BR SIGINT , \" SIGTERM\"\n"
    "end minivmm.  The guest is not asked; use system_powerdown for that.\n"
    ".TP\n.B SIGHUP\n"
    "does so when the terminal has hung up or there is no log; otherwise it opens the\n"
    "files of \\-D, of logfile= and of file chardevs anew.\n"
    ".TP\n.BR SIGTSTP , \" SIGCONT\"\n"
    "stop and continue minivmm, and the guest with it.\n"
    ".TP\n.BR SIGXFSZ , \" SIGPIPE\"\n"
    "are ignored: a write that fails is an error of the write.\n"
    ".SH FILES\n"
    ".TP\n.I /dev/kvm\n"
    "read and write access is needed; members of the group kvm have it on Debian.\n"
    ".TP\n.I /dev/net/tun\n"
    "for \\-netdev tap without fd=.\n"
    ".TP\n.I /dev/hugepages\n"
    "a hugetlbfs for \\-object memory\\-backend\\-file; memory\\-backend\\-memfd\n"
    "with hugetlb=on needs none.\n"
    ".PP\n"
    "There is no configuration file.  Unix sockets and the file of \\-pidfile are\n"
    "removed at the end.  A saved guest appears under its name when it is complete.\n"
    ".SH EXIT STATUS\n"
    ".TP\n.B 0\n"
    "after a clean end: quit, power\\-off of the guest, SIGINT, SIGTERM.\n"
    ".TP\n.B 1\n"
    "when the start failed or was interrupted, when an incoming migration failed and\n"
    "exit\\-on\\-error was on, or after a panic of the guest with \\-action\n"
    "panic=exit\\-failure.\n"
    ".TP\n.I other\n"
    "what the guest wrote to isa\\-debug\\-exit, twice that value plus one.\n"
    ".SH EXAMPLES\n"
    "Boot a kernel on the terminal:\n"
    ".PP\n.nf\n.RS\n"
    "minivmm \\-kernel vmlinuz \\-initrd initrd \\-append console=ttyS0 \\-m 512\n"
    ".RE\n.fi\n.PP\n"
    "With a disk, a network card and a monitor:\n"
    ".PP\n.nf\n.RS\n"
    "minivmm \\-kernel vmlinuz \\-append \"console=ttyS0 root=/dev/vda\" \\-m 1G \\e\n"
    "    \\-drive file=root.img,format=raw,if=virtio \\e\n"
    "    \\-netdev tap,id=n0,ifname=tap0 \\-device virtio\\-net\\-device,netdev=n0 \\e\n"
    "    \\-qmp unix:/run/vm.qmp,server=on,wait=off\n"
    ".RE\n.fi\n.PP\n"
    "Wait for that guest on another host, with the same options, and send it there by QMP:\n"
    ".PP\n.nf\n.RS\n"
    "minivmm ... \\-incoming tcp:0:4444\n"
    "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"tcp:HOST:4444\"}}\n"
    ".RE\n.fi\n.PP\n"
    "Save it to a file while it runs, and bring it back:\n"
    ".PP\n.nf\n.RS\n"
    "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"file:/var/lib/vm.saved\"}}\n"
    "minivmm ... \\-incoming file:/var/lib/vm.saved\n"
    ".RE\n.fi\n"
    ".SH SEE ALSO\n"
    ".BR qemu\\-img (1)\n";

void options_print_man(FILE *out, const struct device_table *devices,
		       const struct manual_part *parts)
{
	(void)fputs(".TH MINIVMM 1 \"\" \"minivmm " MINIVMM_VERSION "\" \"User Commands\"\n", out);
	(void)fputs(opening, out);
	for (const struct opt_row *r = option_table; r->name; r++) {
		if (r->kind == OPT_ROW_HEADING) {
			(void)fputs(".SS ", out);
			roff_line(out, r->name);
		} else if (r->kind != OPT_ROW_REFUSED) {
			man_row(out, r);
		}
	}
	man_devices(out, devices);
	for (const struct manual_part *p = parts; p->title; p++) {
		(void)fprintf(out, ".SH %s\n%s", p->title, p->text);
		p->each(man_item, out);
	}
	man_refused(out);
	(void)fputs(closing, out);
}
