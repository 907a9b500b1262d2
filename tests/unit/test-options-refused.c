/* The command line: what is refused, and the exact words. */
#include <errno.h>
#include <stdio.h>

#include "tests/unit/options-run.h"
#include "vmm/base/units.h"
#include "vmm/options/internal.h"

#define SIZE_HINT                                                                                  \
	"Parameter 'size' expects a non-negative number below 2^64\n"                              \
	"Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"             \
	"and exabytes, respectively."
#define ID_HINT                                                                                    \
	"Parameter 'id' expects an identifier\n"                                                   \
	"Identifiers consist of letters, digits, '-', '.', '_', starting with a letter."
#define KVM_OWN "local APICs are KVM's own; use "
#define NO_EOI                                                                                     \
	"-machine ioapic2=on does not go with kernel_irqchip=on: KVM does not tell the end of "    \
	"the second IOAPIC's interrupts; use kernel_irqchip=split, or ioapic2=off"
#define RAM "-object memory-backend-ram,"
#define FORCED                                                                                     \
	"force-share=on can only be used with read-only images: say read-only=on, or share-rw=on " \
	"at the disk where several machines are to write"
#define FILE_NODE "-blockdev file,filename=d,node-name=a"

/* The option at fault and the text; the option is checked to stand in front. */
#define ROW(args, where, text)                                                                     \
	{                                                                                          \
		(args), where ": " text                                                            \
	}
#define BARE(args, text)                                                                           \
	{                                                                                          \
		(args), (text)                                                                     \
	}
#define NO_DRIVER                                                                                  \
	" is not a valid char driver: use unix:PATH, tcp:HOST:PORT, file:PATH, pty, stdio or null"
/* The only option is at fault. */
#define ONE(args, text) ROW(args, args, text)

static const struct {
	const char *args, *text;
} rows[] = {
  /* grammar */
    ONE("-drive file=/a,b.img", "Invalid parameter 'b.img' (a comma in a file's name is written "
				"twice: file=/a,,b.img)"),
    ONE("-drive file=/a,fromat=raw", "Invalid parameter 'fromat' (did you mean format?)"),
    ONE("-blockdev driver=file,filename=/a,b,node-name=x",
	"Expected '=' after parameter 'b' (or is it behind a comma in a value? Write that twice: "
	"filename=/a,,b)"),
    ONE("-chardev sock,id=a", "'sock' is not a valid char driver name (did you mean socket?)"),
    ONE("-device virtio-blk-devise",
	"'virtio-blk-devise' is not a valid device model name (did you mean virtio-blk-device?)"),
    ONE("-device vfio-pci",
	"vfio-pci: microvm has no PCI bus; use virtio-blk-device or virtio-net-device"),
    ONE("-zz", "invalid option"),
    ONE("--zz", "invalid option"),
    ONE("-", "invalid option"),
    ONE("--", "invalid option"),
    ONE("-Machine", "invalid option (did you mean -machine?)"),
    ONE("-kernal", "invalid option (did you mean -kernel?)"),
    ONE("-m", "requires an argument"),
    ONE("--kernel", "requires an argument"),
    ONE("-name zz=1", "Invalid parameter 'zz'"),
    ONE("-name =1", "Invalid parameter ''"),
    ONE("-name x,debug-threads=zz", "Parameter 'debug-threads' expects 'on' or 'off'"),
    ONE("-name x,,,zz", "Invalid parameter 'zz'"),
 /* machine */
    ONE("-M zz", "unsupported machine type\nUse -machine help to list supported machines"),
    ONE("-machine pc", "unsupported machine type\nUse -machine help to list supported machines"),
    BARE("-M none -kernel k",
	 "with -machine none there is no guest for -kernel and -bios: use -machine microvm"),
    BARE("-M none -incoming defer",
	 "with -machine none there is no guest for -incoming: use -machine microvm"),
    ONE("-M microvm,zz=1", "Property 'microvm-machine.zz' not found"),
    ONE("-M microvm,rtc=zz", "Parameter 'rtc' does not accept value 'zz'"),
    ONE("-M microvm,rtc", "Expected '=' after parameter 'rtc'"),
    ONE("-M microvm,=3", "Invalid parameter ''"),
    ONE("-M microvm,isa-serial=zz", "Parameter 'isa-serial' expects 'on' or 'off'"),
    ONE("-M microvm,acpi=off", "acpi=off is not supported: guests find their devices through ACPI "
			       "tables; use acpi=on"),
    BARE("-M microvm,ioapic2=on,kernel_irqchip=on", NO_EOI),
    BARE("-M microvm,stock=on -accel kvm,kernel-irqchip=on", NO_EOI),
    ONE("-M microvm,ioapic2=zz", "Parameter 'ioapic2' does not accept value 'zz'"),
    ONE("-M microvm,stock=zz", "Parameter 'stock' expects 'on' or 'off'"),
    ONE("-M microvm,kernel-irqchip=off",
	"kernel_irqchip=off is not supported: " KVM_OWN "kernel_irqchip=split"),
    ONE("-M microvm,kernel_irqchip=zz", "Parameter 'kernel_irqchip' does not accept value 'zz'"),
    ONE("-M microvm,pic=zz", "Parameter 'pic' does not accept value 'zz'"),
    ONE("-M microvm,pcie=on", "pcie=on is not supported: the board has no PCI bus; -device help "
			      "lists what it has"),
    ONE("-M microvm,usb=on", "usb=on is not supported: the board has no USB controller"),
    BARE("-M microvm,memory-backend=nope", "Memory backend 'nope' not found"),
    ONE("-M microvm,accel=zz", "invalid accelerator zz"),
    ROW("-M microvm,accel=tcg -m 1", "-M microvm,accel=tcg",
	"accelerator 'tcg' is not supported: minivmm runs guests on KVM only; use -accel kvm"),
    ONE("-accel tcg",
	"accelerator 'tcg' is not supported: minivmm runs guests on KVM only; use -accel kvm"),
    BARE("-M microvm,accel=kvm -accel kvm",
	 "The -accel and \"-machine accel=\" options are incompatible"),
    ONE("-accel zz", "invalid accelerator zz"),
    {"-accel ",    "-accel : invalid accelerator "            },
    ONE("-accel kvm,zz=1", "Property 'kvm-accel.zz' not found"),
    ONE("-accel kvm,dirty-ring-size=1025", "dirty-ring-size must be a power of two."),
    ONE("-accel kvm,dirty-ring-size=zz", "Parameter 'dirty-ring-size' expects uint64"),
    ONE("-accel kvm,dirty-ring-size=512",
	"dirty-ring-size must be 0 or between 1024 and 65536 entries"),
    ONE("-accel kvm,dirty-ring-size=131072",
	"dirty-ring-size must be 0 or between 1024 and 65536 entries"),
    ONE("-accel kvm,kernel-irqchip=off",
	"kernel-irqchip=off is not supported: " KVM_OWN "kernel-irqchip=split"),
    ONE("-cpu ,x", "-cpu option cannot be empty"),
 /* smp */
    ONE("-smp zz", "Parameter 'smp.cpus' expects integer"),
    ONE("-smp 2,cores=", "Parameter 'smp.cores' expects integer"),
    ONE("-smp zz=1", "Parameter 'smp.zz' is unexpected"),
    ONE("-smp corez=1", "Parameter 'smp.corez' is unexpected (did you mean cores?)"),
    ONE("-smp 4,foo", "Expected '=' after parameter 'foo'"),
    ONE("-smp 0", "Invalid CPU topology: CPU topology parameters must be greater than zero"),
    ONE("-smp 2,threads=0",
	"Invalid CPU topology: CPU topology parameters must be greater than zero"),
    ONE("-smp 300", "Invalid SMP CPUs 300. The max CPUs supported by machine 'microvm' is 255"),
    ONE("-smp 256", "Invalid SMP CPUs 256. The max CPUs supported by machine 'microvm' is 255"),
    ONE("-smp -1", "Invalid SMP CPUs -1. The max CPUs supported by machine 'microvm' is 255"),
    ONE("-smp 99999999999999999999",
	"Invalid SMP CPUs 99999999999999999999. The max CPUs supported "
	"by machine 'microvm' is 255"),
    ONE("-smp 4,maxcpus=2", "Invalid CPU topology: maxcpus must be equal to or greater than smp: "
			    "sockets (1) * cores (2) * threads (1) == maxcpus (2) < smp_cpus (4)"),
    ONE("-smp 2,sockets=3", "Invalid CPU topology: product of the hierarchy must match maxcpus: "
			    "sockets (3) * cores (0) * threads (1) != maxcpus (2)"),
    ONE("-smp 4,sockets=2,cores=2,threads=2",
	"Invalid CPU topology: product of the hierarchy must match maxcpus: "
	"sockets (2) * cores (2) * threads (2) != maxcpus (4)"),
    ONE("-smp sockets=65535,cores=65535,threads=65535",
	"Invalid SMP CPUs 281462092005375. The max CPUs supported by machine 'microvm' is 255"),
    ONE("-smp 2,dies=2", "dies not supported by this machine's CPU topology"),
    ONE("-smp 2,modules=2", "modules > 1 not supported by this machine's CPU topology"),
    ONE("-smp 2,clusters=2", "clusters not supported by this machine's CPU topology"),
 /* memory */
    ONE("-m zz", SIZE_HINT),
    ONE("-m -1", SIZE_HINT),
    ONE("-m 1.5", SIZE_HINT),
    ONE("-m 64q", SIZE_HINT),
    ONE("-m 1..5G", SIZE_HINT),
    ONE("-m 64Mb", SIZE_HINT),
    ONE("-m 64,maxmem=zz",
	"Parameter 'maxmem' expects a non-negative number below 2^64\n"
	"Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
	"and exabytes, respectively."),
    ONE("-m 17E", "Value '17E' is out of range for parameter 'size'"),
    ONE("-m 99999999999999999999",
	"Value '99999999999999999999' is out of range for parameter 'size'"),
    ONE("-m 18446744073709551615", "ram size too large"),
    ONE("-m 1E", "ram size too large"),
    ONE("-m 64,slots=2", "slots specified but no max-size"),
    ONE("-m 64,maxmem=32", "invalid value of maxmem: maximum memory size (0x20) must be at least "
			   "the initial memory size (0x4000000)"),
    ONE("-m 64,slots=2,maxmem=128M",
	"memory hotplug is not supported: leave out slots= and maxmem="),
    ONE("-m 64,zz=1", "Invalid parameter 'zz'"),
    ONE("-object zz,id=a", "Parameter 'qom-type' does not accept value 'zz'"),
    ONE("-object id=a", "Parameter 'qom-type' is missing"),
    ONE(RAM "size=1M", "Parameter 'id' is missing"),
    ONE(RAM "id=a", "Parameter 'size' is missing"),
    ONE(RAM "id=a,size=zz", "Parameter 'size' expects a size value"),
    ONE(RAM "id=a,size=0", "property 'size' of memory-backend-ram doesn't take value '0'"),
    ONE(RAM "id=a,size=1M,zz=1", "Invalid parameter 'zz'"),
    ONE(RAM "id=a,size=1M,share=zz", "Parameter 'share' expects 'on' or 'off'"),
    ONE(RAM "id=a,size=1M,hugetlb=on", "Invalid parameter 'hugetlb'"),
    ONE(RAM "id=1a,size=1M", ID_HINT),
    ROW(RAM "id=a,size=1M " RAM "id=a,size=1M", RAM "id=a,size=1M", "Duplicate ID 'a' for object"),
    ONE("-object memory-backend-file,id=a,size=1M", "Parameter 'mem-path' is missing"),
    ONE("-object memory-backend-memfd,id=a,size=1M,hugetlbsize=2M",
	"'hugetlbsize' needs hugetlb=on"),
    ONE("-object memory-backend-memfd,id=a,size=1M,hugetlb=on,hugetlbsize=3M",
	"'hugetlbsize' must be a power of two"),
    ONE("-object rng-egd,id=r",
	"object type 'rng-egd' is not supported: use rng-random, with a FIFO "
	"or a device as filename="),
    ONE("-object rng-random", "Parameter 'id' is missing"),
    ONE("-object rng-builtin,id=r,filename=/x", "Invalid parameter 'filename'"),
    ONE("-object rng-builtin,id=r,size=1M", "Invalid parameter 'size'"),
    BARE("-object rng-builtin,id=r -M microvm,memory-backend=r", "Memory backend 'r' not found"),
    ONE("-object {\"qom-type\":\"zz\"}", "Parameter 'qom-type' does not accept value 'zz'"),
    BARE(RAM "id=a,size=64M -m 128 -M microvm,memory-backend=a",
	 "Machine memory size does not match the size of the memory backend"),
 /* boot */
    BARE("-append x", "-append only allowed with -kernel option"),
    BARE("-initrd x", "-initrd only allowed with -kernel option"),
    ONE("-boot q", "Invalid boot device 'q'"),
    ONE("-boot order=c,zz=1", "Parameter 'boot.zz' is unexpected"),
    ONE("-boot menu=on", "menu=on is not supported: the board has no boot menu"),
 /* disks */
    ONE("-drive format=raw", "Must specify either driver or file"),
    ONE("-drive file=,if=none", "Must specify either driver or file"),
    ONE("-drive file=d,format=zz", "Unknown driver 'zz'"),
    ONE("-drive file=d,format=vmdk",
	"format 'vmdk' is not supported: use format=raw or format=qcow2 "
	"('qemu-img convert' converts an image)"),
    ONE("-drive file=d,cache-size=1M",
	"Block format 'raw' does not support the option 'cache-size'"),
    ONE("-drive file=d,format=raw,lazy-refcounts=on",
	"Block format 'raw' does not support the option 'lazy-refcounts'"),
    ONE("-drive file=d,format=qcow2,overlap-check=all",
	"'overlap-check' is not supported: there is one kind of check, which is always on"),
    ONE("-drive file=d,format=qcow2,refcount-cache-size=1M",
	"'refcount-cache-size' is not supported: that cache has one size; use cache-size"),
    ONE("-drive file=d,if=zz", "unsupported bus type 'zz'"),
    ONE("-drive file=d,if=ide", "if=ide is not supported: microvm has no such bus; use if=virtio"),
    ONE("-drive file=d,zz=1", "Invalid parameter 'zz'"),
    ONE("-drive file=d,cache=zz", "invalid cache option"),
    ONE("-drive file=d,aio=zz", "invalid aio option"),
    ONE("-drive file=d,discard=zz", "Invalid discard option"),
    ONE("-drive file=d,readonly=zz", "Parameter 'readonly' expects 'on' or 'off'"),
    ONE("-drive file=d,snapshot=on",
	"snapshot=on is not supported: writes go to the image; use a copy of it"),
    ONE("-drive file=d,media=cdrom", "media=cdrom is not supported: the board has no CD-ROM; use "
				     "media=disk,readonly=on"),
    ONE("-drive file=d,werror=stop",
	"werror=stop is not supported: the guest is told of the error; use werror=report"),
    ONE("-drive file=d,index=zz", "Parameter 'index' expects a number"),
    ONE("-drive file=d,index=64", "index 64 is too big: use 0 to 63"),
    ONE("-drive file=nbd:h:1", "Unknown protocol 'nbd'"),
    ONE("-drive file=json:{}", "Unknown protocol 'json'"),
    ONE("nbd://h", "Unknown protocol 'nbd'"),
    ONE("-drive file=d,id=1a", ID_HINT),
    ROW("-drive file=d,id=a -drive file=e,id=a", "-drive file=e,id=a",
	"Duplicate ID 'a' for drive"),
    ROW("-drive file=d,index=2 -drive file=e,index=2", "-drive file=e,index=2",
	"drive with bus=0, unit=2 (index=2) exists"),
    ROW("-drive file=d,node-name=a -drive file=e,node-name=a", "-drive file=e,node-name=a",
	"Duplicate nodes with node-name='a'"),
    ONE("-drive file=d,node-name=a,id=a", "Device name 'a' conflicts with an existing node name"),
    ONE("-blockdev driver=zz,node-name=a", "Parameter 'driver' does not accept value 'zz'"),
    ONE("-blockdev driver=vmdk,node-name=a", "driver 'vmdk' is not supported: use driver=raw or "
					     "driver=qcow2 over driver=file"),
    ONE("-blockdev driver=qcow2,node-name=a", "Parameter 'file' is missing"),
    ONE("-blockdev driver=qcow2,node-name=a,file.driver=file,file.filename=d,data-file=x",
	"'data-file' is not supported: the image's data is in the image"),
    ONE("-blockdev driver=qcow2,node-name=a,file.driver=file,file.filename=d,backing=zz",
	"Cannot find device='zz' nor node-name='zz'"),
    ONE("-blockdev "
	"driver=qcow2,node-name=a,file.driver=file,file.filename=d,backing.file.driver=file",
	"backing: Parameter 'driver' is missing"),
    ONE("-blockdev driver=qcow2,node-name=a,file.driver=file,file.filename=d,backing=,"
	"backing.driver=raw",
	"'backing' and 'backing.driver' cannot be used together"),
    ONE("-blockdev driver=qcow2,node-name=a,file.driver=file,file.filename=d,backing.driver=file,"
	"backing.filename=e,backing.node-name=a",
	"Duplicate nodes with node-name='a'"),
    ONE("-blockdev driver=raw,node-name=a,file.driver=file,file.filename=d,backing=",
	"Parameter 'backing' is unexpected"),
    ROW("-drive file=d,node-name=b -blockdev "
	"qcow2,node-name=a,file.driver=file,file.filename=e,backing=b",
	"-blockdev qcow2,node-name=a,file.driver=file,file.filename=e,backing=b",
	"node 'b' cannot be the backing file of this node: it is in use"),
    ONE("-blockdev node-name=a", "Parameter 'driver' is missing"),
    {"-blockdev ", "-blockdev : Parameter 'driver' is missing"},
    ONE("-blockdev driver=file,node-name=a", "Parameter 'filename' is missing"),
    ONE("-blockdev file,filename=d", "'node-name' must be specified for the root node"),
    ONE("-blockdev file,filename=d,node-name=1a", "Invalid node-name: '1a'"),
    ONE("-blockdev file,filename=d,node-name=a0123456789012345678901234567890",
	"Node name too long"),
    ROW(FILE_NODE " " FILE_NODE, FILE_NODE, "Duplicate nodes with node-name='a'"),
    ONE(FILE_NODE ",zz=1", "Parameter 'zz' is unexpected"),
    ONE(FILE_NODE ",foo", "Expected '=' after parameter 'foo'"),
    ONE(FILE_NODE ",read-only=zz", "Parameter 'read-only' expects 'on' or 'off'"),
    ONE(FILE_NODE ",aio=zz", "Parameter 'aio' does not accept value 'zz'"),
    ONE(FILE_NODE ",cache.zz=on", "Parameter 'cache.zz' is unexpected"),
    ONE(FILE_NODE ",cache.direct=zz", "Parameter 'cache.direct' expects 'on' or 'off'"),
    ONE(FILE_NODE ",force-share=on", FORCED),
    ONE("-drive file=d,force-share=on", FORCED),
    ONE("-blockdev driver=raw,node-name=a", "Parameter 'file' is missing"),
    ONE("-blockdev driver=raw,node-name=a,file.driver=file",
	"Parameter 'file.filename' is missing"),
    ONE("-blockdev driver=raw,node-name=a,file.filename=x", "Parameter 'file.driver' is missing"),
    ONE("-blockdev driver=raw,node-name=a,file=zz", "Cannot find device='zz' nor node-name='zz'"),
    ROW(FILE_NODE " -blockdev raw,node-name=b,file=a -blockdev raw,node-name=c,file=a",
	"-blockdev raw,node-name=c,file=a",
	"node 'a' cannot be the file below this node: it is in use"),
    ROW(FILE_NODE " -blockdev raw,node-name=b,file=a -blockdev file,filename=e,node-name=a",
	"-blockdev file,filename=e,node-name=a", "Duplicate nodes with node-name='a'"),
    ONE("-blockdev {", "JSON parse error, premature EOI"),
    ONE("-blockdev {\"driver\":\"file\"}", "Parameter 'filename' is missing"),
    ONE("-blockdev {\"driver\":\"file\",\"driver\":\"file\"}", "JSON parse error, duplicate key"),
    ONE("-blockdev {}x", "Expecting at most one JSON value"),
 /* devices */
    ONE("-device zz", "'zz' is not a valid device model name"),
    ONE("-device id=a", "Parameter 'driver' is missing"),
    {"-device ",   "-device : Parameter 'driver' is missing"  },
    ONE("-device {\"id\":\"a\"}", "Parameter 'driver' is missing"),
    ONE("-device {\"driver\":\"zz\"}", "'zz' is not a valid device model name"),
    ONE("-device virtio-rng-device,id=1a", ID_HINT),
    ROW("-device virtio-rng-device,id=a -device virtio-blk-device,id=a",
	"-device virtio-blk-device,id=a", "Duplicate ID 'a' for device"),
    ONE("-device virtio-blk-pci", "virtio-blk-pci: microvm has no PCI bus; use virtio-blk-device"),
    ONE("-device virtio-net-pci-non-transitional",
	"virtio-net-pci-non-transitional: microvm has no PCI bus; use virtio-net-device"),
    ONE("-device virtio-gpu-pci", "virtio-gpu-pci: microvm has no PCI bus"),
    ONE("-device virtio-blk", "virtio-blk: microvm has no PCI bus; use virtio-blk-device"),
    ONE("-device e1000", "e1000: microvm has no PCI bus; use virtio-net-device"),
    ONE("-device virtio-balloon", "virtio-balloon: microvm has no PCI bus; use "
				  "virtio-balloon-device"),
    ONE("-device isa-serial", "Parameter 'chardev' is missing"),
    ONE("-device isa-serial,chardev=c,zz=1", "Property 'isa-serial.zz' not found"),
    ONE("-device isa-serial,chardev=c,index=1",
	"index=1 is not supported: the UART is at index=0,iobase=0x3f8,irq=4 and nowhere "
	"else"),
    ONE("-device isa-serial,chardev=zz",
	"could not connect serial device to character backend 'chardev:zz'"),
    ONE("-global zz", "Invalid parameter 'zz'"),
    ONE("-global a.b", "Invalid parameter 'a.b'"),
    ONE("-global driver=a,zz=1", "Invalid parameter 'zz'"),
    ONE("-global driver=a", "options 'driver', 'property', and 'value' are required"),
    ONE("-global virtio-mmio.x-override-queue-size=2048",
	"can't apply global virtio-mmio.x-override-queue-size=2048: "
	"Parameter 'x-override-queue-size' expects a number from 0 to 1024, not '2048'"),
    ONE("-global virtio-blk-device.queue-size=1",
	"can't apply global virtio-blk-device.queue-size=1: "
	"Parameter 'queue-size' expects a number from 4 to 1024, not '1'"),
    ONE("-device virtio-blk-device,zz=1", "Property 'virtio-blk-device.zz' not found"),
    ONE("-device zz,help", "'zz' is not a valid device model name"),
    ONE("-netdev zz,help",
	"Parameter 'type' does not accept value 'zz': use tap, stream, user or passt"),
    ONE("-object zz,help", "Parameter 'qom-type' does not accept value 'zz'"),

    ONE("-global virtio-mmio.force-legacy=zz", "can't apply global virtio-mmio.force-legacy=zz: "
					       "Parameter 'force-legacy' expects 'on' or 'off'"),
    ONE("-global migration.exit-on-error=zz", "can't apply global migration.exit-on-error=zz: "
					      "Parameter 'exit-on-error' expects 'on' or 'off'"),
    ONE("-global virtio-mmio.zz=1",
	"can't apply global virtio-mmio.zz=1: Property 'virtio-mmio.zz' not found"),
 /* network */
    ONE("-netdev zz,id=a",
	"Parameter 'type' does not accept value 'zz': use tap, stream, user or passt"),
    ONE("-netdev tap", "Parameter 'id' is missing"),
    ONE("-netdev id=a", "Parameter 'type' is missing"),
    ONE("-netdev user,id=a,zz=1", "Invalid parameter 'zz'"),
    ONE("-netdev user", "Parameter 'id' is missing"),
    ONE("-netdev user,id=a,restrict=zz", "Parameter 'restrict' expects 'on' or 'off'"),
    ONE("-netdev user,id=a,guestfwd=tcp:10.0.2.9:9-cmd:cat",
	"'guestfwd' is not supported: let the guest connect to host= and a port of the host"),
    ONE("-netdev user,id=a,smb=/x",
	"'smb' is not supported: run a file server on the host, or a virtual disk"),
    ONE("-netdev user,id=a,ipv6-prefixlen=200",
	"Parameter 'ipv6-prefixlen' expects a number from 0 to 126, not '200'"),
    ONE("-netdev passt,id=a,zz=1", "Invalid parameter 'zz'"),
    ONE("-netdev passt,id=a,vhost-user=on",
	"vhost-user=on is not supported: frames pass through minivmm's own I/O thread"),
    ONE("-netdev passt,id=a,tcp=zz", "Parameter 'tcp' expects 'on' or 'off'"),
    ONE("-netdev socket,id=a,listen=:1", "netdev type 'socket' is not supported: use stream"),
    ONE("-netdev tap,id=1a", ID_HINT),
    ONE("-netdev tap,id=a,zz=1", "Invalid parameter 'zz'"),
    ONE("-netdev tap,id=a,fd=zz", "Invalid file descriptor number 'zz'"),
    ONE("-netdev tap,id=a,fd=3,script=no", "ifname=, script=, downscript=, vnet_hdr=, helper=, "
					   "queues=, fds=, and vhostfds= are invalid "
					   "with fd="),
    ONE("-netdev tap,id=a,vhost=on",
	"vhost=on is not supported: frames pass through minivmm's own I/O thread"),
    ONE("-netdev tap,id=a,vhost=zz", "Parameter 'vhost' expects 'on' or 'off'"),
    ONE("-netdev tap,id=a,queues=zz", "Parameter 'queues' expects a uint64 value"),
    ONE("-netdev tap,id=a,queues=2",
	"queues=2 is not supported: a network card has one pair of queues"),
    ROW("-netdev tap,id=a -netdev tap,id=a", "-netdev tap,id=a", "Duplicate ID 'a' for netdev"),
    ONE("-netdev stream,id=a", "Parameter 'addr' is missing"),
    ONE("-netdev stream,id=a,addr.type=inet", "Parameter 'addr.host' is missing"),
    ONE("-netdev stream,id=a,addr.type=inet,addr.host=h", "Parameter 'addr.port' is missing"),
    ONE("-netdev stream,id=a,addr.type=unix", "Parameter 'addr.path' is missing"),
    ONE("-netdev stream,id=a,addr.type=fd", "Parameter 'addr.str' is missing"),
    ONE("-netdev stream,id=a,addr.type=zz", "Parameter 'addr.type' does not accept value 'zz'"),
    ONE("-netdev stream,id=a,zz=1", "Parameter 'zz' is unexpected"),
    ONE("-netdev stream,id=a,server=zz", "Parameter 'server' expects 'on' or 'off'"),
    ONE("-netdev {\"type\":\"tap\"}", "Parameter 'id' is missing"),
    ONE("-net user", "only none is supported here: use -nic, or -netdev and a -device that takes "
		     "netdev="),
    ONE("-nic zz", "Parameter 'type' does not accept value 'zz': use tap, stream, user or passt"),
    ONE("-nic user,zz=1", "Invalid parameter 'zz'"),
    ONE("-nic user,model=zz", "model=zz is not supported: use virtio-net-device"),
    ONE("-nic user,model=virtio-net-pci",
	"model=virtio-net-pci: virtio-net-pci: microvm has no PCI bus; use virtio-net-device"),
    ONE("-nic user,mac=zz",
	"Parameter 'mac' expects an Ethernet address like 52:54:00:12:34:56, not 'zz'"),
    ONE("-nic user,addr=1",
	"'addr' is not supported: the card is on virtio-mmio, in the next free slot; leave it out"),
    ONE("-nic user,id=1a", ID_HINT),
    ROW("-nic user,id=a -nic user,id=a", "-nic user,id=a", "Duplicate ID 'a' for netdev"),
 /* characters and monitors */
    ONE("-chardev zz,id=a", "'zz' is not a valid char driver name"),
    ONE("-chardev pipe,id=a",
	"chardev 'pipe' is not supported: use socket, file, pty, stdio or null"),
    ONE("-chardev null", "chardev: no id specified"),
    ONE("-chardev id=a", "chardev: \"a\" missing backend"),
    ONE("-chardev null,id=1a", ID_HINT),
    ONE("-chardev null,id=a,zz=1", "Invalid parameter 'zz'"),
    ONE("-chardev null,id=a,mux=on",
	"mux=on is not supported: a chardev has one user; use one for each"),
    ROW("-chardev null,id=a -chardev file,id=a,path=x", "-chardev file,id=a,path=x",
	"Duplicate ID 'a' for chardev"),
    ONE("-chardev file,id=a", "chardev: file: no filename given"),
    ONE("-chardev file,id=a,path=x,append=zz", "Parameter 'append' expects 'on' or 'off'"),
    ONE("-chardev socket,id=a", "chardev: socket: no path, host or fd given"),
    ONE("-chardev socket,id=a,path=", "chardev: socket: the path is empty"),
    ONE("-chardev socket,id=a,host=x", "chardev: socket: no port given"),
    ONE("-chardev socket,id=a,host=x,port=65536", "chardev: socket: port 65536 is above 65535"),
    ONE("-chardev socket,id=a,path=/x,host=y,port=1",
	"None or one of 'path', 'fd' or 'host' option required."),
    ONE("-chardev socket,id=a,path=/x,wait=off",
	"'wait' option is incompatible with socket in client connect mode"),
    ONE("-chardev socket,id=a,path=/x,server=on,reconnect=2",
	"'reconnect' option is incompatible with socket in server listen mode"),
    ONE("-chardev socket,id=a,path=/x,server=on,reconnect-ms=2",
	"'reconnect-ms' option is incompatible with socket in server listen mode"),
    ONE("-chardev socket,id=a,path=/x,reconnect=1,reconnect-ms=2",
	"'reconnect' and 'reconnect-ms' are mutually exclusive"),
    ONE("-netdev stream,id=a,addr.type=unix,addr.path=/x,reconnect=1,reconnect-ms=2",
	"'reconnect' and 'reconnect-ms' are mutually exclusive"),
    ONE("-chardev socket,id=a,path=/x,reconnect-ms=zz",
	"Parameter 'reconnect-ms' expects a number"),
    ONE("-chardev socket,id=a,path=/x,reconnect=zz", "Parameter 'reconnect' expects a number"),
    ONE("-chardev socket,id=a,path=/x,reconnect=4294967296",
	"Parameter 'reconnect' expects a number"),
    ROW("-chardev stdio,id=a -chardev stdio,id=b", "-chardev stdio,id=b",
	"cannot use stdio by multiple character devices"),
    ROW("-serial stdio -qmp stdio", "-qmp stdio", "cannot use stdio by multiple character devices"),
    ONE("-serial zz", "'zz'" NO_DRIVER),
    {"-serial ",   "-serial : ''" NO_DRIVER                   },
    ONE("-serial null,x=1", "'null,x=1'" NO_DRIVER),
    ONE("-serial vc",
	"'vc' is not supported: use unix:PATH, tcp:HOST:PORT, file:PATH, pty, stdio or "
	"null"),
    ONE("-serial file:", "chardev: file: no filename given"),
    ONE("-serial unix:", "chardev: socket: no path, host or fd given"),
    ONE("-serial unix:/x,zz=1", "Invalid parameter 'zz'"),
    ONE("-serial tcp:", "'tcp:' is not tcp:HOST:PORT"),
    ONE("-serial tcp:x", "'tcp:x' is not tcp:HOST:PORT"),
    ONE("-serial tcp:x:", "'tcp:x:' is not tcp:HOST:PORT"),
    ONE("-serial chardev:zz", "could not connect serial device to character backend 'chardev:zz'"),
    ONE("-serial mon:zz", "'zz'" NO_DRIVER),
    ROW("-serial null -serial null", "-serial null",
	"the board has one serial port, and it is in use"),
    BARE("-chardev null,id=serial0",
	 "the chardev id 'serial0' belongs to the serial port: use -serial chardev:serial0, or "
	 "another id"),
    ONE("-mon zz,mode=control", "chardev \"zz\" not found"),
    ONE("-mon mode=control", "Parameter 'chardev' is missing"),
    ONE("-mon a,mode=zz", "Parameter 'mode' does not accept value 'zz'"),
    ONE("-mon a,mode=control,zz=1", "Invalid parameter 'zz'"),
    ONE("-mon a,mode=control,pretty=zz", "Parameter 'pretty' expects 'on' or 'off'"),
    ONE("-mon a", "mode=readline is not supported: the human monitor is not offered; use "
		  "mode=control"),
    ROW("-chardev null,id=a -mon a,mode=control -serial chardev:a", "-serial chardev:a",
	"Device 'a' is in use"),
    ONE("-qmp zz", "'zz'" NO_DRIVER),
    ONE("-qmp chardev:zz", "chardev \"zz\" not found"),
    ONE("-monitor stdio", "the human monitor is not offered: use -qmp, or -monitor none"),
    ROW("-daemonize -serial stdio", "-serial stdio", "cannot use stdio with -daemonize"),
    ROW("-chardev stdio,id=a -daemonize", "-chardev stdio,id=a",
	"cannot use stdio with -daemonize"),
    BARE("-nographic -daemonize", "-nographic cannot be used with -daemonize"),
    ONE("-display gtk", "the board has no such device: only none is supported"),
 /* running */
    ONE("-uuid zz", "failed to parse UUID string: wrong format"),
    ONE("-uuid 00112233-4455-6677-8899-AABBCCDDEEF", "failed to parse UUID string: wrong format"),
    ONE("-uuid 00112233-4455-6677-8899-AABBCCDDEEFF0", "failed to parse UUID string: wrong format"),
    ONE("-uuid 00112233445566778899AABBCCDDEEFF", "failed to parse UUID string: wrong format"),
    {"-incoming ", "-incoming : unknown migration protocol: " },
    ONE("-action zz", "Invalid parameter 'zz'"),
    ONE("-action panic=zz", "Parameter 'panic' does not accept value 'zz'"),
    ONE("-action reboot=zz", "Parameter 'reboot' does not accept value 'zz'"),
    ONE("-action shutdown=zz", "Parameter 'shutdown' does not accept value 'zz'"),
    ONE("-action watchdog=zz", "Parameter 'watchdog' does not accept value 'zz'"),
    ONE("-msg zz=1", "Invalid parameter 'zz'"),
    ONE("-msg timestamp=zz", "Parameter 'timestamp' expects 'on' or 'off'"),
    ONE("-msg guest-name=on", "guest-name=on is not supported: give each guest its own -D file"),
    ONE("-rtc base=zz", "invalid datetime format"),
    ONE("-rtc base=localtime", "base=localtime is not supported: the clock is UTC; use base=utc"),
    ONE("-rtc base=2026-01-01", "base=2026-01-01 is not supported: the clock is UTC; use base=utc"),
    ONE("-rtc clock=vm",
	"clock=vm is not supported: the RTC follows the host's clock; use clock=host"),
    ONE("-overcommit mem-lock=zz", "Parameter 'mem-lock' expects 'on' or 'off'"),
    ONE("-overcommit mem-lock=on", "mem-lock=on is not supported: use -object memory-backend-memfd "
				   "with hugetlb=on"),
    ONE("-run-with zz=1", "Invalid parameter 'zz'"),
    ONE("-run-with chroot=/", "'chroot' is not supported: start minivmm within it"),
    ONE("-run-with user=nobody", "'user' is not supported: start minivmm as that user"),
    ONE("-run-with async-teardown=on",
	"async-teardown=on is not supported: the guest's memory is given back as minivmm ends"),
    ONE("-run-with exit-with-parent=2", "Parameter 'exit-with-parent' expects 'on' or 'off'"),
    BARE("-run-with exit-with-parent=on -daemonize",
	 "-run-with exit-with-parent=on cannot be used with -daemonize"),
    ONE("-sandbox zz", "Parameter 'enable' expects 'on' or 'off'"),
    ONE("-sandbox on", "enable=on is not supported: start minivmm in a sandbox of the host, or use "
		       "-sandbox off"),
    ONE("-sandbox off,zz=1", "Invalid parameter 'zz'"),
    ONE("-vnc", "not supported: there is no display"),
    ONE("-usb", "not supported: the board has no USB controller"),
    ONE("-hda", "not supported: use -drive file=..."),
};

START_TEST(refused)
{
	struct config cfg;
	struct err err = {0};
	int ret = run_options(&cfg, rows[_i].args, &err);

	ck_assert_msg(ret < 0, "%s: accepted", rows[_i].args);
	ck_assert_msg(!strcmp(err.msg, rows[_i].text), "%s:\n got %s\nwant %s", rows[_i].args,
		      err.msg, rows[_i].text);
	ck_assert_int_eq(ret, -err.errnum);
	config_fini(&cfg);
	/* Without room for the words it is refused all the same. */
	ck_assert_int_eq(run_options(&cfg, rows[_i].args, NULL), ret);
	config_fini(&cfg);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("options-refused");
	TCase *tc = tcase_create("refused");

	tcase_add_loop_test(tc, refused, 0, (int)ARRAY_LEN(rows));
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(suite());
}
