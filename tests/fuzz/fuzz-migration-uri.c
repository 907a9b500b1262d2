/* Any text as an address, and as the value of every parameter. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "migration/channel/uri.h"
#include "migration/settings/params.h"
#include "vmm/base/alloc.h"
#include "vmm/base/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text = xstrndup((const char *)data, len);
	struct migration_uri u;
	struct err err = {0};

	if (uri_parse(&u, text, len & 1, &err) == 0) {
		assert(u.text);
		uri_fini(&u);
	} else {
		assert(err.msg[0]);
	}
	for (int row = 0; migration_param_table[row].name; row++) {
		struct migration_params_set set = {0};
		struct migration_params p;

		migration_params_init(&p);
		if (migration_params_parse(&set, row, text, NULL) == 0)
			(void)migration_params_apply(&p, &set, NULL);
	}
	free(text);
	return 0;
}
