#include "migration/stream/reply.h"

#include <assert.h>
#include <string.h>

#include "migration/channel/channel.h"
#include "vmm/base/bytes.h"

int rp_send(struct channel *ch, enum rp_type type, const void *payload, size_t n, struct err *err)
{
	uint8_t msg[4 + RP_MAX_PAYLOAD];

	assert(n <= RP_MAX_PAYLOAD);
	if (!ch)
		return 0;
	put_be16(msg, (uint16_t)type);
	put_be16(msg + 2, (uint16_t)n);
	if (n)
		memcpy(msg + 4, payload, n);
	return channel_write(ch, msg, 4 + n, err);
}

int rp_send_error(struct channel *ch, const char *text, struct err *err)
{
	static const char mark[] = " ...";
	char cut[RP_MAX_PAYLOAD];
	size_t n = strlen(text), kept = sizeof(cut) - strlen(mark);

	if (n <= RP_MAX_PAYLOAD)
		return rp_send(ch, RP_ERROR, text, n, err);
	memcpy(cut, text, kept);
	memcpy(cut + kept, mark, strlen(mark));
	return rp_send(ch, RP_ERROR, cut, sizeof(cut), err);
}

int rp_send_shut(struct channel *ch, uint32_t status, struct err *err)
{
	uint8_t payload[4];

	put_be32(payload, status);
	return rp_send(ch, RP_SHUT, payload, sizeof(payload), err);
}

void rp_out_init(struct rp_out *out)
{
	out->ch = NULL;
	pthread_mutex_init(&out->lock, NULL);
}

void rp_out_fini(struct rp_out *out)
{
	pthread_mutex_destroy(&out->lock);
}

int rp_out_send(struct rp_out *out, enum rp_type type, const void *payload, size_t n,
		struct err *err)
{
	int ret;

	pthread_mutex_lock(&out->lock);
	ret = rp_send(out->ch, type, payload, n, err);
	pthread_mutex_unlock(&out->lock);
	return ret;
}
