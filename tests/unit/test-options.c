/* The command line: what is accepted, and what the configuration then says. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/options-run.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

static const char *str(const char *s)
{
	return s ? s : "-";
}

static void dump_machine(FILE *f, const struct config *c)
{
	(void)fprintf(f, "acpi=%d\npic=%d\npit=%d\nrtc=%d\nuart=%d\n", c->acpi, c->pic, c->pit,
		      c->rtc, c->isa_serial);
	(void)fprintf(f, "ioapic2=%d\nsplit=%d\nstock=%d\n", c->ioapic2, c->split_irqchip,
		      c->board.stock);
	for (size_t i = 0; i < c->globals.n; i++)
		(void)fprintf(f, "global %s=%s\n", c->globals.v[i].key, c->globals.v[i].val);
	(void)fprintf(f, "ram=%llu\nbackend=%s\n", (unsigned long long)c->ram_bytes,
		      str(c->memory_backend));
	(void)fprintf(f, "smp=%u/%u/%u/%u/%u/%u\n", c->cpus, c->maxcpus, c->sockets, c->dies,
		      c->cores, c->threads);
	(void)fprintf(f, "cpu=%s\nfeatures=%s\nring=%u\n", str(c->cpu_model), str(c->cpu_features),
		      c->dirty_ring_size);
	(void)fprintf(f, "dumpdtb=%s\nnovmdesc=%d\ncore=%d\nksm=%d\n", str(c->dumpdtb),
		      c->suppress_vmdesc, c->dump_guest_core, c->mem_merge);
	(void)fprintf(f, "kernel=%s\ninitrd=%s\nappend=%s\nbios=%s\n", str(c->kernel),
		      str(c->initrd), str(c->append), str(c->bios));
	(void)fprintf(f, "name=%s\nprocess=%s\nthreads=%d\nuuid=", str(c->name), str(c->process),
		      c->debug_threads);
	for (size_t i = 0; c->uuid_set && i < sizeof(c->uuid); i++)
		(void)fprintf(f, "%02x", c->uuid[i]);
	(void)fprintf(f, "\nincoming=%s\npaused=%d\nnoreboot=%d\nnoshutdown=%d\npanic=%d\n",
		      str(c->incoming), c->paused, c->no_reboot, c->no_shutdown, c->panic);
	(void)fprintf(f, "exitonerror=%d\n", c->exit_on_error);
	(void)fprintf(f, "migratable=%d\ndaemon=%d\npidfile=%s\nlog=%s\ntime=%d\n",
		      c->only_migratable, c->daemonize, str(c->pidfile), str(c->logfile),
		      c->log_timestamp);
	for (size_t i = 0; i < c->migration_globals.n; i++)
		(void)fprintf(f, "migration %s=%s\n", c->migration_globals.v[i].key,
			      c->migration_globals.v[i].val);
}

static void dump_blocks(FILE *f, const struct config *c)
{
	for (size_t i = 0; i < c->n_objects; i++) {
		const struct cfg_object *o = &c->objects[i];

		(void)fprintf(f, "object %s %s %llu%s%s%s%s huge=%llu path=%s\n", o->type, o->id,
			      (unsigned long long)o->size, o->share ? " share" : "",
			      o->prealloc ? " prealloc" : "", o->hugetlb ? " hugetlb" : "",
			      o->readonly ? " ro" : "", (unsigned long long)o->hugetlb_bytes,
			      str(o->mem_path ? o->mem_path : o->filename));
	}
	for (size_t i = 0; i < c->n_blockdevs; i++)
		for (const struct cfg_blockdev *b = &c->blockdevs[i]; b; b = b->backing) {
			(void)fprintf(f, "%s %s %s %s drive=%s%s%s%s%s%s%s file=%s",
				      b == &c->blockdevs[i] ? "node" : "below", str(b->node_name),
				      b->driver, b->filename, b->drive_id, b->readonly ? " ro" : "",
				      b->direct ? " direct" : "", b->no_flush ? " noflush" : "",
				      b->writeback ? "" : " through",
				      b->aio_threads ? " threads" : "",
				      b->discard ? " discard" : "", str(b->file_node));
			(void)fprintf(f, "%s%s\n", b->no_backing ? " alone" : "",
				      b->cache_bytes ? " cache" : "");
		}
	for (size_t i = 0; i < c->n_devices; i++) {
		const struct cfg_device *d = &c->devices[i];

		(void)fprintf(f, "device %s %s", d->driver, str(d->id));
		for (size_t k = 0; k < d->props.n; k++)
			(void)fprintf(f, " %s=%s", d->props.v[k].key, d->props.v[k].val);
		(void)fputc('\n', f);
	}
}

static void dump_streams(FILE *f, const struct config *c)
{
	for (size_t i = 0; i < c->n_netdevs; i++) {
		const struct cfg_netdev *n = &c->netdevs[i];

		(void)fprintf(
		    f, "netdev %s %s if=%s up=%s down=%s fd=%d hdr=%d %s %s %s %s%s retry=%llu\n",
		    n->type, n->id, str(n->ifname), str(n->script), str(n->downscript), n->fd,
		    n->vnet_hdr, str(n->addr_type), str(n->host), str(n->port), str(n->path),
		    n->server ? " server" : "", (unsigned long long)n->reconnect_ms);
		if (strcmp(n->type, "user") != 0 && strcmp(n->type, "passt") != 0)
			continue;
		(void)fprintf(f, "network");
		for (size_t k = 0; k < n->props.n; k++)
			(void)fprintf(f, " %s=%s", n->props.v[k].key, n->props.v[k].val);
		(void)fputc('\n', f);
	}
	for (size_t i = 0; i < c->n_chardevs; i++) {
		const struct cfg_chardev *d = &c->chardevs[i];

		(void)fprintf(f, "chardev %s %s path=%s host=%s port=%s fd=%d%s%s%s retry=%llu",
			      d->id, d->type, str(d->path), str(d->host), str(d->port), d->fd,
			      d->server ? " server" : "", d->wait ? " wait" : "",
			      d->append ? " append" : "", (unsigned long long)d->reconnect_ms);
		(void)fprintf(f, "%s log=%s%s\n",
			      strcmp(d->type, "stdio") != 0 ? ""
			      : d->signal                   ? " signal"
							    : " raw",
			      str(d->logfile), d->logappend ? " logappend" : "");
	}
	for (size_t i = 0; i < c->n_monitors; i++)
		(void)fprintf(f, "mon %s%s\n", c->monitors[i].chardev,
			      c->monitors[i].pretty ? " pretty" : "");
	(void)fprintf(f, "serial=%s\n", str(c->serial));
}

/* The configuration as lines, with a newline in front; returns owned. */
static char *dump(const struct config *c)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	ck_assert_ptr_nonnull(f);
	(void)fputc('\n', f);
	dump_machine(f, c);
	dump_blocks(f, c);
	dump_streams(f, c);
	ck_assert_int_eq(fclose(f), 0);
	return text;
}

#define ROW(args, ...)                                                                             \
	{                                                                                          \
		(args),                                                                            \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

static const struct {
	const char *args;
	const char *expect[7]; /* lines of the dump; "!x": no line begins with x */
} rows[] = {
    /* defaults */
    ROW("", "acpi=1", "pic=1", "pit=1", "rtc=1", "uart=1", "ram=134217728", "smp=1/1/1/1/1/1"),
    ROW("", "cpu=host", "features=-", "ring=0", "core=1", "ksm=1", "novmdesc=0", "panic=1"),
    ROW("", "serial=serial0", "chardev serial0 stdio path=- host=- port=- fd=-1 retry=0 raw log=-"),
    ROW("", "!mon", "!netdev", "!device", "!object", "!node", "paused=0", "incoming=-"),
    /* machine */
    ROW("-M microvm", "acpi=1", "rtc=1"),
    ROW("--machine type=microvm", "acpi=1"),
    ROW("-M microvm,acpi=on,ioapic2=off,pic=on,pit=on,rtc=on,isa-serial=on,kernel_irqchip=on",
	"acpi=1", "pic=1", "pit=1", "rtc=1", "uart=1"),
    ROW("-M microvm,acpi=auto,ioapic2=auto,pic=auto,pit=auto,rtc=auto,pcie=auto,smm=auto", "acpi=1",
	"pic=1", "pit=1", "rtc=1"),
    ROW("-M microvm,rtc=off,isa-serial=off", "rtc=0", "uart=0", "serial=-", "!chardev"),
    ROW("-M microvm,rtc=no,isa_serial=n", "rtc=0", "uart=0"),
    ROW("-M rtc=off -M microvm", "rtc=0"),
    /* variants of the board; what was given goes before stock=on, wherever that stands */
    ROW("-M microvm", "ioapic2=0", "split=0", "stock=0"),
    ROW("-M microvm,stock=on", "stock=1", "acpi=1", "pic=1", "pit=1", "rtc=0", "ioapic2=1",
	"split=1"),
    ROW("-M microvm,rtc=on,stock=on -global virtio-mmio.force-legacy=off", "rtc=1", "ioapic2=1",
	"split=1", "global virtio-mmio.force-legacy=off"),
    ROW("-M microvm,stock=on,ioapic2=off -accel kvm,kernel-irqchip=on", "rtc=0", "ioapic2=0",
	"split=0"),
    ROW("-M microvm,stock=on,rtc=auto,ioapic2=auto", "rtc=0", "ioapic2=1"),
    ROW("-M microvm,ioapic2=on", "rtc=1", "ioapic2=1", "split=1", "stock=0"),
    ROW("-M microvm,kernel_irqchip=split", "rtc=1", "ioapic2=0", "split=1"),
    ROW("-M microvm,pic=off,pit=no", "pic=0", "pit=0"),
    ROW("-global virtio-mmio.force-legacy=true", "global virtio-mmio.force-legacy=true"),
    ROW("-M microvm,kernel-irqchip=on,x-option-roms=off,auto-kernel-cmdline=off,pcie=off,usb=off",
	"acpi=1"),
    ROW("-machine microvm,dump-guest-core=off,mem-merge=off,graphics=off", "core=0", "ksm=0"),
    ROW("-M microvm,dumpdtb=/tmp/x.dtb,suppress-vmdesc=on", "dumpdtb=/tmp/x.dtb", "novmdesc=1"),
    ROW("-M microvm,accel=kvm:tcg", "acpi=1"),
    ROW("-M microvm,kernel=k,initrd=i,append=a,,b,firmware=f", "kernel=k", "initrd=i", "append=a,b",
	"bios=f"),
    ROW("-accel kvm", "ring=0"),
    ROW("-accel kvm,dirty-ring-size=4096", "ring=4096"),
    ROW("-accel kvm,dirty-ring-size=0x400,kernel-irqchip=on", "ring=1024"),
    ROW("-accel kvm -accel tcg", "ring=0"),
    ROW("-accel tcg -accel kvm", "ring=0"),
    ROW("-accel tcg:kvm", "ring=0"),
    ROW("-accel tcg,thread=multi -enable-kvm", "ring=0"),
    ROW("-cpu qemu64", "cpu=qemu64", "features=-"),
    ROW("-cpu qemu64 -cpu kvm64,+x2apic,-vmx,h=on", "cpu=kvm64", "features=+x2apic,-vmx,h=on"),
    ROW("-cpu host,", "cpu=host", "features=-"),
    ROW("-name vm1,process=p,debug-threads=on", "name=vm1", "process=p", "threads=1"),
    ROW("-name guest=a,,b", "name=a,b"),
    ROW("-uuid 00112233-4455-6677-8899-AABBccddeeff", "uuid=00112233445566778899aabbccddeeff"),
    /* smp */
    ROW("-smp 2", "smp=2/2/1/1/2/1"),
    ROW("-smp cpus=4", "smp=4/4/1/1/4/1"),
    ROW("-smp 2,maxcpus=4", "smp=2/4/1/1/4/1"),
    ROW("-smp 2,modules=1,dies=1,clusters=1", "smp=2/2/1/1/2/1"),
    ROW("-smp maxcpus=8", "smp=8/8/1/1/8/1"),
    ROW("-smp 8,sockets=2", "smp=8/8/2/1/4/1"),
    ROW("-smp 8,cores=2", "smp=8/8/4/1/2/1"),
    ROW("-smp 8,sockets=2,cores=2", "smp=8/8/2/1/2/2"),
    ROW("-smp 8,threads=2", "smp=8/8/1/1/4/2"),
    ROW("-smp sockets=2,cores=2,threads=2", "smp=8/8/2/1/2/2"),
    ROW("-smp cores=3", "smp=3/3/1/1/3/1"),
    ROW("-smp 1,sockets=1,dies=1,clusters=1,cores=1,threads=1", "smp=1/1/1/1/1/1"),
    ROW("-smp 255", "smp=255/255/1/1/255/1"),
    ROW("-smp 2 -smp sockets=2", "smp=2/2/2/1/1/1"),
    /* memory */
    ROW("-m 64", "ram=67108864"),
    ROW("-m size=64", "ram=67108864"),
    ROW("-m 1G", "ram=1073741824"),
    ROW("-m 1.5g", "ram=1610612736"),
    ROW("-m 0.25M", "ram=262144"),
    ROW("-m 0", "ram=134217728"),
    ROW("-m 64 -m 1025k", "ram=1056768"),
    ROW("-m 8193b", "ram=16384"),
    ROW("-m 64,slots=0,maxmem=64M", "ram=67108864"),
    ROW("-object memory-backend-ram,id=r,size=64M -M microvm,memory-backend=r",
	"object memory-backend-ram r 67108864 huge=0 path=-", "ram=67108864", "backend=r"),
    ROW("-m 64 -M memory-backend=r -object memory-backend-memfd,id=r,size=64M",
	"object memory-backend-memfd r 67108864 share huge=0 path=-"),
    ROW("-object memory-backend-memfd,id=r,size=1G,hugetlb=on,hugetlbsize=2M,share=off,prealloc=on",
	"object memory-backend-memfd r 1073741824 prealloc hugetlb huge=2097152 path=-"),
    ROW("-object rng-random,id=r", "object rng-random r 0 huge=0 path=/dev/urandom"),
    ROW("-object rng-random,id=r,filename=/dev/hwrng",
	"object rng-random r 0 huge=0 path=/dev/hwrng"),
    ROW("-object rng-builtin,id=r", "object rng-builtin r 0 huge=0 path=-"),
    ROW("-object memory-backend-file,id=r,size=1M,mem-path=/dev/shm,share=on",
	"object memory-backend-file r 1048576 share huge=0 path=/dev/shm"),
    ROW("-object {\"qom-type\":\"memory-backend-file\",\"id\":\"r\",\"size\":1048576,"
	"\"mem-path\":\"a,b\",\"readonly\":true}",
	"object memory-backend-file r 1048576 ro huge=0 path=a,b"),
    /* globals */
    ROW("-global virtio-mmio.force-legacy=false", "acpi=1"),
    ROW("-global driver=virtio-mmio,property=force-legacy,value=off", "acpi=1"),
    ROW("-global virtio-mmio.x-override-queue-size=1024", "acpi=1"),
    ROW("-global migration.x-multifd=on -global migration.exit-on-error=on",
	"migration x-multifd=on", "exitonerror=1", "!migration exit-on-error"),
    ROW("-incoming exit-on-error=off,exec:a,b", "incoming=exec:a,b", "exitonerror=2"),
    ROW("-incoming tcp:[::]:1 -global migration.exit-on-error=off", "exitonerror=2"),
    ROW("-serial chardev:c -chardev null,id=c,logfile=l,logappend=on",
	"chardev c null path=- host=- port=- fd=-1 retry=0 log=l logappend"),
    ROW("-global migration.a=b=c,d", "migration a=b=c,d"),
    ROW("-global nosuch.thing=1", "acpi=1"),
    ROW("-global virtio-net-device.mac=52:54:00:00:00:01 -device virtio-net-device,netdev=n "
	"-netdev tap,id=n",
	"device virtio-net-device - mac=52:54:00:00:00:01 netdev=n"),
    ROW("-device virtio-net-device,mac=52:54:00:00:00:02 -global "
	"virtio-net-device.mac=52:54:00:00:00:01",
	"device virtio-net-device - mac=52:54:00:00:00:02"),
    /* boot */
    ROW("-kernel k -initrd i -append console=ttyS0 -bios b", "kernel=k", "initrd=i",
	"append=console=ttyS0", "bios=b"),
    ROW("--kernel a -kernel b", "kernel=b"),
    ROW("-boot strict=on -boot c -boot order=dc,menu=off", "acpi=1"),
    /* disks */
    ROW("disk.img", "node #block000 raw disk.img drive=virtio0 file=-",
	"device virtio-blk-device - drive=virtio0"),
    ROW("a,b.img", "node #block000 raw a,b.img drive=virtio0 file=-"),
    ROW("-drive file=d,format=raw,if=none,id=x -device virtio-blk-device,drive=x,serial=s",
	"node #block000 raw d drive=x file=-", "device virtio-blk-device - drive=x serial=s"),
    ROW("-drive file=d -drive file=e,index=0,if=none -drive file=f",
	"node #block000 raw d drive=virtio0 file=-", "node #block001 raw e drive=none0 file=-",
	"node #block002 raw f drive=virtio1 file=-"),
    ROW("-drive file=d -device virtio-rng-device,id=r", "device virtio-rng-device r",
	"device virtio-blk-device - drive=virtio0"),
    ROW("-drive file=file:d,if=virtio,readonly=on", "node #block000 raw d drive=virtio0 ro file=-"),
    ROW("-drive file=/a:b,if=virtio,cache=none",
	"node #block000 raw /a:b drive=virtio0 direct file=-"),
    ROW("-drive file=d,cache=writethrough", "node #block000 raw d drive=virtio0 through file=-"),
    ROW("-drive file=d,cache=directsync",
	"node #block000 raw d drive=virtio0 direct through file=-"),
    ROW("-drive file=d,cache=unsafe", "node #block000 raw d drive=virtio0 noflush file=-"),
    ROW("-drive file=d,cache=none,cache.direct=off", "node #block000 raw d drive=virtio0 file=-"),
    ROW("-drive file=d,aio=threads", "node #block000 raw d drive=virtio0 threads file=-"),
    ROW("-drive file=d,aio=native,cache=none", "node #block000 raw d drive=virtio0 direct file=-"),
    ROW("-drive file=d,discard=unmap,werror=report,media=disk,snapshot=off,node-name=n",
	"node n raw d drive=virtio0 discard file=-"),
    ROW("-drive file=d,format=qcow2,discard=unmap,cache-size=1M",
	"node #block000 qcow2 d drive=virtio0 discard file=- cache"),
    ROW("-blockdev qcow2,node-name=n,file.driver=file,file.filename=d,backing=",
	"node n qcow2 d drive= file=- alone"),
    ROW("-blockdev {\"driver\":\"qcow2\",\"node-name\":\"n\",\"file\":{\"driver\":\"file\","
	"\"filename\":\"d\"},\"backing\":null}",
	"node n qcow2 d drive= file=- alone"),
    ROW("-blockdev file,node-name=f,filename=b -blockdev raw,node-name=r,file=f -blockdev "
	"qcow2,node-name=n,file.driver=file,file.filename=d,backing=r",
	"node n qcow2 d drive= file=-\nbelow r raw b drive= file=f", "!node r", "!node f"),
    ROW("-blockdev {\"driver\":\"qcow2\",\"node-name\":\"n\",\"file\":{\"driver\":\"file\","
	"\"filename\":\"d\"},\"backing\":{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\","
	"\"filename\":\"e\"},\"backing\":{\"driver\":\"file\",\"filename\":\"g\"}}}",
	"node n qcow2 d drive= file=-\nbelow - qcow2 e drive= ro file=-\nbelow - file g drive= ro "
	"file=-"),
    ROW("-blockdev driver=file,filename=d,node-name=n", "node n file d drive= file=-"),
    ROW("-blockdev driver=raw,node-name=n,file.driver=file,file.filename=d",
	"node n raw d drive= file=-"),
    ROW("-blockdev raw,node-name=n,read-only=on,file.driver=file,file.filename=d,file.aio=threads,"
	"file.node-name=f,file.locking=off",
	"node n raw d drive= ro threads file=f"),
    ROW("-blockdev file,node-name=f,filename=d,cache.direct=on,discard=unmap -blockdev "
	"raw,node-name=n,file=f",
	"node n raw d drive= direct discard file=f", "!node f"),
    ROW("-blockdev {\"driver\":\"raw\",\"node-name\":\"n\",\"read-only\":true,\"file\":{\"driver\":"
	"\"file\",\"filename\":\"a=b,c\",\"cache\":{\"direct\":true,\"no-flush\":false}}}",
	"node n raw a=b,c drive= ro direct file=-"),
    /* devices */
    ROW("-device isa-debug-exit,iobase=0xf4,iosize=4",
	"device isa-debug-exit - iobase=0xf4 iosize=4"),
    ROW("-device pvpanic,ioport=0x505", "device pvpanic - ioport=0x505"),
    ROW("-device virtio-rng-device,id=r0,event-idx=off",
	"device virtio-rng-device r0 event_idx=off"),
    ROW("-device {\"driver\":\"virtio-blk-device\",\"id\":\"v\",\"drive\":\"x\",\"bootindex\":1}",
	"device virtio-blk-device v drive=x bootindex=1"),
    ROW("-chardev null,id=c -device isa-serial,chardev=c,id=s,index=0", "serial=c", "!device"),
    /* network */
    ROW("-netdev tap,id=n,ifname=tap0,script=no,downscript=no",
	"netdev tap n if=tap0 up=- down=- fd=-1 hdr=1 - - - - retry=0"),
    ROW("-netdev tap,id=n,script=/u,downscript=/d,vnet_hdr=off,vhost=off,queues=1",
	"netdev tap n if=- up=/u down=/d fd=-1 hdr=0 - - - - retry=0"),
    ROW("-netdev tap,id=n,fd=7", "netdev tap n if=- up=- down=- fd=7 hdr=1 - - - - retry=0"),
    ROW("-netdev stream,id=n,server=on,addr.type=unix,addr.path=/s",
	"netdev stream n if=- up=- down=- fd=-1 hdr=1 unix - - /s server retry=0"),
    ROW("-netdev stream,id=n,addr.type=inet,addr.host=::1,addr.port=99,reconnect=3",
	"netdev stream n if=- up=- down=- fd=-1 hdr=1 inet ::1 99 - retry=3000"),
    ROW("-netdev {\"type\":\"stream\",\"id\":\"n\",\"addr\":{\"type\":\"fd\",\"str\":\"5\"}}",
	"netdev stream n if=- up=- down=- fd=5 hdr=1 fd - - - retry=0"),
    ROW("-nic none -net none", "!netdev"),
    ROW("-netdev user,id=n,hostfwd=tcp::2-:22,hostfwd=udp::3-:33,restrict",
	"network type=user id=n hostfwd=tcp::2-:22 hostfwd=udp::3-:33 restrict=on"),
    ROW("-netdev {\"type\":\"user\",\"id\":\"n\",\"restrict\":true,\"hostfwd\":[{\"str\":\"a\"},"
	"{\"str\":\"b\"}]}",
	"network type=user id=n restrict=on hostfwd=a hostfwd=b"),
    ROW("-netdev passt,id=n,tcp-ports=80,tcp-ports=443,quiet=off",
	"network type=passt id=n tcp-ports=80 tcp-ports=443 quiet=off"),
    ROW("-nic user", "netdev user #net0 if=- up=- down=- fd=-1 hdr=1 - - - - retry=0",
	"device virtio-net-device - netdev=#net0"),
    ROW("-netdev tap,id=nic -nic user,id=n,model=virtio-net-device,mac=52:54:00:12:34:57 -nic "
	"tap,ifname=t",
	"netdev tap nic if=- up=- down=- fd=-1 hdr=1 - - - - retry=0",
	"netdev user n if=- up=- down=- fd=-1 hdr=1 - - - - retry=0",
	"netdev tap #net2 if=t up=- down=- fd=-1 hdr=1 - - - - retry=0",
	"device virtio-net-device - netdev=n mac=52:54:00:12:34:57",
	"device virtio-net-device - netdev=#net2"),
    /* characters and monitors */
    ROW("-serial none", "serial=-", "!chardev"),
    ROW("-nodefaults", "serial=-", "!chardev"),
    ROW("-nodefaults -nographic", "serial=-", "!chardev"),
    ROW("-nographic", "serial=serial0",
	"chardev serial0 stdio path=- host=- port=- fd=-1 retry=0 raw log=-"),
    ROW("-display none -vga none -audiodev none,id=a -parallel none -monitor none",
	"serial=serial0"),
    ROW("-serial stdio", "chardev serial0 stdio path=- host=- port=- fd=-1 retry=0 signal log=-"),
    ROW("-nodefaults -serial mon:stdio", "serial=serial0",
	"chardev serial0 stdio path=- host=- port=- fd=-1 retry=0 raw log=-"),
    ROW("-serial null", "chardev serial0 null path=- host=- port=- fd=-1 retry=0 log=-"),
    ROW("-serial file:/tmp/a,b",
	"chardev serial0 file path=/tmp/a,b host=- port=- fd=-1 retry=0 log=-"),
    ROW("-serial unix:/tmp/s,server=on,wait=off",
	"chardev serial0 socket path=/tmp/s host=- port=- fd=-1 server retry=0 log=-"),
    ROW("-serial unix:/tmp/s,server,nowait",
	"chardev serial0 socket path=/tmp/s host=- port=- fd=-1 server retry=0 log=-"),
    ROW("-serial unix:/tmp/s,server=on",
	"chardev serial0 socket path=/tmp/s host=- port=- fd=-1 server wait retry=0 log=-"),
    ROW("-chardev socket,id=c,path=/x,reconnect-ms=20 -serial chardev:c",
	"chardev c socket path=/x host=- port=- fd=-1 retry=20 log=-"),
    ROW("-netdev stream,id=n,addr.type=unix,addr.path=/s,reconnect-ms=70",
	"netdev stream n if=- up=- down=- fd=-1 hdr=1 unix - - /s retry=70"),
    ROW("-serial tcp:[::1]:99,reconnect=2",
	"chardev serial0 socket path=- host=::1 port=99 fd=-1 retry=2000 log=-"),
    ROW("-serial tcp::4444,server=on,wait=off,nodelay=on",
	"chardev serial0 socket path=- host= port=4444 fd=-1 server retry=0 log=-"),
    ROW("-serial chardev:c -chardev file,id=c,path=/x,append=on,logfile=/l", "serial=c",
	"chardev c file path=/x host=- port=- fd=-1 append retry=0 log=/l"),
    ROW("-qmp unix:/q,server=on,wait=off -qmp-pretty tcp:h:1", "mon compat_monitor0",
	"mon compat_monitor1 pretty",
	"chardev compat_monitor0 socket path=/q host=- port=- fd=-1 server retry=0 log=-",
	"chardev compat_monitor1 socket path=- host=h port=1 fd=-1 retry=0 log=-"),
    ROW("-qmp stdio", "mon compat_monitor0", "serial=serial0",
	"chardev serial0 null path=- host=- port=- fd=-1 retry=0 log=-"),
    ROW("-qmp chardev:c -chardev socket,id=c,fd=9,server=on,wait=off", "mon c",
	"chardev c socket path=- host=- port=- fd=9 server retry=0 log=-"),
    ROW("-mon chardev=c,mode=control,pretty=on,id=m -chardev stdio,id=c,signal=off", "mon c pretty",
	"chardev c stdio path=- host=- port=- fd=-1 retry=0 raw log=-",
	"chardev serial0 null path=- host=- port=- fd=-1 retry=0 log=-"),
    ROW("-M isa-serial=off -serial null", "serial=-"),
    ROW("-daemonize", "daemon=1", "chardev serial0 null path=- host=- port=- fd=-1 retry=0 log=-"),
    /* running */
    ROW("-incoming defer -S", "incoming=defer", "paused=1"),
    ROW("-incoming tcp:0:4444 -incoming exec:cat,,x", "incoming=exec:cat,,x"),
    ROW("-no-reboot -no-shutdown", "noreboot=1", "noshutdown=1"),
    ROW("-action reboot=shutdown,shutdown=pause,panic=none,watchdog=reset", "noreboot=1",
	"noshutdown=1", "panic=3"),
    ROW("-no-reboot -action reboot=reset,panic=pause", "noreboot=0", "panic=0"),
    ROW("-action panic=exit-failure", "panic=2"),
    ROW("-only-migratable -pidfile p -D l -msg timestamp=on", "migratable=1", "pidfile=p", "log=l",
	"time=1"),
    ROW("-rtc base=utc,clock=host -rtc utc -overcommit mem-lock=off -sandbox off -no-user-config "
	"-sandbox off,spawn=deny",
	"acpi=1"),
    /* what libvirt writes */
    ROW("-name guest=vm,debug-threads=on -S -machine microvm,usb=off,dump-guest-core=off,"
	"memory-backend=microvm.ram -accel kvm -cpu qemu64 -m 256 -object "
	"{\"qom-type\":\"memory-backend-ram\",\"id\":\"microvm.ram\",\"size\":268435456} "
	"-overcommit mem-lock=off -smp 1,sockets=1,cores=1,threads=1 "
	"-uuid 00000000-0000-0000-0000-000000000001 -display none -no-user-config -nodefaults "
	"-chardev socket,id=charmonitor,fd=23,server=on,wait=off "
	"-mon chardev=charmonitor,id=monitor,mode=control -rtc base=utc -no-shutdown -boot "
	"strict=on "
	"-kernel /k -initrd /i -append console=ttyS0 -blockdev "
	"{\"driver\":\"file\",\"filename\":\"/d\",\"node-name\":\"libvirt-1-storage\","
	"\"auto-read-only\":true,\"discard\":\"unmap\"} -blockdev "
	"{\"node-name\":\"libvirt-1-format\",\"read-only\":false,\"driver\":\"raw\",\"file\":"
	"\"libvirt-1-storage\"} -device "
	"{\"driver\":\"virtio-blk-device\",\"drive\":\"libvirt-1-format\",\"id\":\"virtio-disk0\","
	"\"bootindex\":1} -chardev file,id=charserial0,path=/dev/fdset/0,append=on -device "
	"{\"driver\":\"isa-serial\",\"chardev\":\"charserial0\",\"id\":\"serial0\",\"index\":0} "
	"-audiodev {\"id\":\"audio1\",\"driver\":\"none\"} -msg timestamp=on",
	"node libvirt-1-format raw /d drive= discard file=libvirt-1-storage", "serial=charserial0",
	"device virtio-blk-device virtio-disk0 drive=libvirt-1-format bootindex=1",
	"mon charmonitor", "ram=268435456", "core=0", "noshutdown=1"),
};

START_TEST(accepted)
{
	struct config cfg;
	struct err err = {0};
	int ret = run_options(&cfg, rows[_i].args, &err);
	CLEANUP(cleanup_free) char *text = NULL;

	ck_assert_msg(ret == 0, "%s: refused: %s", rows[_i].args, err.msg);
	text = dump(&cfg);
	for (size_t i = 0; i < ARRAY_LEN(rows[_i].expect) && rows[_i].expect[i]; i++) {
		const char *want = rows[_i].expect[i];
		bool absent = *want == '!';
		CLEANUP(cleanup_free)
		char *line = absent ? xasprintf("\n%s ", want + 1) : xasprintf("\n%s\n", want);

		ck_assert_msg((strstr(text, line) != NULL) != absent, "%s: '%s' in:%s",
			      rows[_i].args, want, text);
	}
	config_fini(&cfg);
}
END_TEST

START_TEST(accessors)
{
	struct config cfg;

	ck_assert_int_eq(
	    run_options(
		&cfg,
		"-object memory-backend-ram,id=o,size=1M -drive file=d,id=v "
		"-netdev tap,id=n -chardev null,id=c "
		"-device virtio-net-device,netdev=n,mac=52:54:00:00:00:01,mac=52:54:00:00:00:02",
		NULL),
	    0);
	ck_assert_str_eq(config_object(&cfg, "o")->id, "o");
	ck_assert_ptr_null(config_object(&cfg, "x"));
	ck_assert_str_eq(config_blockdev(&cfg, "#block000")->drive_id, "v");
	ck_assert_ptr_null(config_blockdev(&cfg, "v"));
	ck_assert_str_eq(config_netdev(&cfg, "n")->type, "tap");
	ck_assert_ptr_null(config_netdev(&cfg, NULL));
	ck_assert_str_eq(config_chardev(&cfg, "c")->type, "null");
	ck_assert_ptr_null(config_chardev(&cfg, ""));
	ck_assert_str_eq(keyvals_get(&cfg.devices[0].props, "mac"), "52:54:00:00:00:02");
	ck_assert_ptr_null(keyvals_get(&cfg.devices[0].props, "ma"));
	config_fini(&cfg);
	config_fini(&cfg); /* an emptied config is fine */
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("options");
	TCase *tc = tcase_create("accepted");

	tcase_add_loop_test(tc, accepted, 0, (int)ARRAY_LEN(rows));
	tcase_add_test(tc, accessors);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(suite());
}
