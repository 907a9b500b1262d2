/* Any bytes as the description of another machine: compared or refused with a sentence, and
 * bounded. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "migration/peer/compare.h"
#include "migration/settings/capabilities.h"
#include "tests/unit/described-machine.h"
#include "vmm/base/error.h"
#include "vmm/base/log.h"
#include "vmm/describe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct described *d = described_new();
	bool caps[CAP_COUNT] = {[CAP_X_IGNORE_SHARED] = len % 2};
	struct buf diff = {0};
	struct err err = {0};
	int ret;

	(void)log_open("/dev/null", NULL);
	ret = machine_compare(&d->m, caps, data, len, &diff, &err);
	assert(ret == 0 || (ret < 0 && err.msg[0]));
	assert(diff.len <= DESC_DIFF_BYTES + 16);
	for (size_t i = 0; i < diff.len; i++) {
		if (diff.data[i] == '\n') /* a line of the list, which is indented */
			assert(diff.len - i > 4 && memcmp(diff.data + i + 1, "    ", 4) == 0);
		else
			assert(diff.data[i] >= ' ' && diff.data[i] <= '~');
	}
	buf_free(&diff);
	described_free(d);
	return 0;
}
