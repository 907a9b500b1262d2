#include "devices/device-table.h"

#include <errno.h>
#include <string.h>

#include "devices/debug-exit.h"
#include "devices/pvpanic.h"
#include "devices/serial.h"
#include "devices/virtio/virtio-devices.h"
#include "devices/vmgenid.h"
#include "vmm/base/error.h"
#include "vmm/base/units.h"
#include "vmm/options/config.h"

/* In the order of -device help. */
static const struct device_row *const rows[] = {
    &virtio_blk_row,
    &virtio_net_row,
    &virtio_rng_row,
    &virtio_balloon_row,
    &virtio_serial_row,
    &virtserialport_row,
    &virtconsole_row,
    &debug_exit_row,
    &pvpanic_row,
    &vmgenid_row,
    &serial_row,
    &virtio_mmio_row,
    NULL,
};

/* Models of QEMU that are not offered. */
static const struct {
	const char *name, *use;
} elsewhere[] = {
    {"virtio-blk",             "microvm has no PCI bus; use virtio-blk-device"                     },
    {"virtio-net",             "microvm has no PCI bus; use virtio-net-device"                     },
    {"virtio-rng",             "microvm has no PCI bus; use virtio-rng-device"                     },
    {"e1000",		  "microvm has no PCI bus; use virtio-net-device"                     },
    {"e1000e",		 "microvm has no PCI bus; use virtio-net-device"                     },
    {"rtl8139",		"microvm has no PCI bus; use virtio-net-device"                     },
    {"vmxnet3",		"microvm has no PCI bus; use virtio-net-device"                     },
    {"ne2k_isa",               "use virtio-net-device"					     },
    {"nvme",		   "microvm has no PCI bus; use virtio-blk-device"                     },
    {"ahci",		   "microvm has no PCI bus; use virtio-blk-device"                     },
    {"ide-hd",		 "microvm has no IDE bus; use virtio-blk-device"                     },
    {"ide-cd",		 "microvm has no IDE bus; use virtio-blk-device"                     },
    {"scsi-hd",		"microvm has no SCSI bus; use virtio-blk-device"                    },
    {"scsi-cd",		"microvm has no SCSI bus; use virtio-blk-device"                    },
    {"pci-serial",             "microvm has no PCI bus; use -serial"                               },
    {"VGA",		    "microvm has no display; use -serial"                               },
    {"usb-tablet",             "microvm has no USB"						},
    {"usb-kbd",		"microvm has no USB"						},
    {"qemu-xhci",              "microvm has no USB"						},
    {"virtio-balloon",         "microvm has no PCI bus; use virtio-balloon-device"                 },
    {"virtio-scsi-device",     "use virtio-blk-device"                                             },
    {"virtio-9p-device",       "use a disk or the network"                                         },
    {"virtio-gpu-device",      "microvm has no display; use -serial"                               },
    {"virtio-keyboard-device", "use -serial"						       },
    {"virtio-crypto-device",   "leave it out"						      },
    {"virtio-iommu-device",    "leave it out"						      },
    {"vfio-pci",               "microvm has no PCI bus; use virtio-blk-device or virtio-net-device"},
    {"virtio-mem-pci",         "there is no memory hotplug; use -m"                                },
    {"vhost-vsock-device",     "use virtio-net-device"                                             },
    {"vhost-user-fs-device",   "use a disk or the network"                                         },
    {"vhost-user-blk-device",  "use virtio-blk-device"                                             },
    {"vmcoreinfo",             "leave it out"						      },
    {"loader",		 "use -kernel and -initrd"					   },
    {"i6300esb",               "there is no watchdog"					      },
    {"ib700",		  "there is no watchdog"					      },
    {"pc-dimm",		"there is no memory hotplug; use -m"                                },
};

/* virtio-X-pci, with or without -transitional, is X on another bus. */
static int refuse_pci(const char *name, struct err *err)
{
	const char *pci = strstr(name, "-pci");
	size_t stem = pci ? (size_t)(pci - name) : 0;

	if (!pci || stem > 32 ||
	    (strncmp(name, "virtio-", 7) != 0 && strncmp(name, "vhost-", 6) != 0))
		return 0;
	for (size_t i = 0; rows[i]; i++)
		if (!strncmp(rows[i]->name, name, stem) && !strcmp(rows[i]->name + stem, "-device"))
			return err_set(err, ENOTSUP, OPT_QUOTE ": microvm has no PCI bus; use %s",
				       name, rows[i]->name);
	return err_set(err, ENOTSUP, OPT_QUOTE ": microvm has no PCI bus", name);
}

static int device_refuse(const char *name, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(elsewhere); i++)
		if (!strcmp(elsewhere[i].name, name))
			return err_set(
			    err, ENOTSUP, "%s%s: %s", name,
			    strstr(elsewhere[i].use, "microvm has") ? "" : " is not supported",
			    elsewhere[i].use);
	return refuse_pci(name, err);
}

const struct device_table device_table = {
    .rows = rows, .disk = &virtio_blk_row, .nic = &virtio_net_row, .refuse = device_refuse};

int device_create(struct machine *m, const struct cfg_device *cfg, unsigned slot,
		  struct backends *be, struct err *err)
{
	int ret = device_check(cfg, err);

	return ret < 0 ? ret : cfg->row->create(m, cfg, slot, be, err);
}
