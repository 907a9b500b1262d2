#include "migration/settings/settings.h"

#include <string.h>

#include "migration/settings/rules.h"

void settings_init(struct migration_settings *s, bool dirty_ring)
{
	s->dirty_ring = dirty_ring;
	migration_params_init(&s->params);
	settings_publish(s);
}

void settings_publish(struct migration_settings *s)
{
	const struct migration_params *p = &s->params;

	__atomic_store_n(&s->max_bandwidth, p->max_bandwidth, __ATOMIC_RELAXED);
	__atomic_store_n(&s->xbzrle_cache_bytes, p->xbzrle_cache_size, __ATOMIC_RELAXED);
	__atomic_store_n(&s->switchover_bandwidth, p->avail_switchover_bandwidth, __ATOMIC_RELAXED);
	__atomic_store_n(&s->postcopy_bandwidth, p->max_postcopy_bandwidth, __ATOMIC_RELAXED);
	__atomic_store_n(&s->downtime_limit_ms, p->downtime_limit, __ATOMIC_RELAXED);
}

static int check(const struct migration_settings *s, const bool *caps,
		 const struct migration_params *params, bool one_connection,
		 enum rules_moment moment, struct err *err)
{
	const struct rules_subject subject = {
	    .caps = caps,
	    .params = params,
	    .dirty_ring = s->dirty_ring,
	    .one_connection = one_connection,
	};

	return rules_check(moment, &subject, err);
}

int settings_next_params(const struct migration_settings *s, const struct migration_params_set *set,
			 struct migration_params *next, struct err *err)
{
	struct migration_params p = s->params;
	int ret = migration_params_apply(&p, set, err);

	if (ret == 0)
		ret = check(s, s->caps, &p, false, RULES_SET, err);
	if (ret == 0)
		*next = p;
	return ret;
}

int settings_next_capabilities(const struct migration_settings *s,
			       const enum migration_capability *caps, const bool *states, size_t n,
			       bool one_connection, bool next[CAP_COUNT], struct err *err)
{
	memcpy(next, s->caps, sizeof(s->caps));
	for (size_t i = 0; i < n; i++)
		next[caps[i]] = states[i];
	return check(s, next, &s->params, one_connection, RULES_SET, err);
}

int settings_check_start(const struct migration_settings *s, struct err *err)
{
	return check(s, s->caps, &s->params, false, RULES_START, err);
}

int settings_check_channel(const bool *caps, bool one_connection, bool seekable, struct err *err)
{
	const struct rules_subject subject = {
	    .caps = caps, .one_connection = one_connection, .seekable = seekable};

	return rules_check(RULES_CHANNEL, &subject, err);
}
