/* What a refused section's message says: the option that gives the machine its device. */
#include <string.h>

#include "migration/incoming/section-hint.h"
#include "tests/unit/check-main.h"
#include "vmm/base/units.h"
#include "vmm/board.h"

static const struct {
	const char *idstr;
	uint32_t instance;
	bool ioapic2;
	const char *says;
} rows[] = {
    {"ioapic",				  1, false, "-machine ioapic2=on"    },
    {"ioapic",				  0, false, "no option"              },
    {"mc146818rtc",			     0, true,  "-machine rtc=on"        },
    {"i8259",				   1, true,  "-machine pic=on"        },
    {"i8254",				   0, true,  "-machine pit=on"        },
    {"serial",				  0, true,  "-serial"                },
    {"cpu",				     3, true,  "-smp"                   },
    {"slirp",				   0, true,  "-netdev user"           },
    {"virtio-mmio@00000000feb02e00/virtio-blk", 0, false, "in slots 23 and below"  },
    {"virtio-mmio@00000000feb02e00/virtio-blk", 0, true,  "-device virtio-blk-devi"},
    {"virtio-mmio@00000000feb00e00/virtio-net", 0, false, "-device virtio-net-devi"},
    {"virtio-mmio@ffffffffffffffff/x",          0, false, "-device x-device"       },
    {"virtio-mmio@",			    0, true,  "-device virtio-device"  },
    {"vmgenid",				 0, true,  "-device vmgenid"        },
    {"e1000",				   0, true,  "no option gives it one" },
};

START_TEST(hints)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		static struct board board;
		struct section_hint h;

		board.ioapic2 = rows[i].ioapic2;
		h = section_hint(&board, rows[i].idstr, rows[i].instance);
		ck_assert_msg(strstr(h.s, rows[i].says) != NULL, "%s: %s", rows[i].idstr, h.s);
	}
}
END_TEST

CHECK_MAIN("section-hint", hints)
