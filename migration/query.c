/* query.c - what query-migrate shows of either end (qmp-surface 3.3) */
#include "migration/incoming/lazy.h"
#include "migration/incoming/postcopy.h"
#include "migration/incoming/report.h"
#include "migration/internal.h"
#include "migration/migration.h"
#include "migration/outgoing/forecast.h"
#include "migration/outgoing/report.h"
#include "vmm/base/units.h"
#include "vmm/machine.h"

#define SILENT_MS 3000 /* without a byte taken: the phase says so */

static void put_error(struct migration_info *info, const struct err *err, const char *whole)
{
	if (info->status == MIG_FAILED || info->status == MIG_POSTCOPY_PAUSED)
		info->error_desc = whole ? whole : err->msg;
}

/* What is set and possible; the rest of the figures is measured. */
static struct forecast_figures figures_of(const struct migration *mg)
{
	const struct migration_params *p = &mg->set.params;
	const struct outgoing *o = &mg->out;

	return (struct forecast_figures){
	    .max_bandwidth = p->max_bandwidth,
	    .switchover = p->avail_switchover_bandwidth,
	    .throttles = o->caps[CAP_AUTO_CONVERGE] || o->caps[CAP_DIRTY_LIMIT],
	    .throttle = __atomic_load_n(&o->auto_converge.percent, __ATOMIC_RELAXED),
	    .throttle_initial = p->cpu_throttle_initial,
	    .throttle_increment = p->cpu_throttle_increment,
	    .throttle_max = p->max_cpu_throttle,
	    .throttle_trigger = p->throttle_trigger_threshold,
	    .ring = mg->m->ring != NULL,
	    .vcpus = mg->m->n_vcpus,
	    .coded = o->caps[CAP_XBZRLE] || o->caps[CAP_COMPRESS] ||
		     (o->caps[CAP_MULTIFD] && p->multifd_compression != MULTIFD_NONE),
	    .multifd = o->caps[CAP_MULTIFD],
	    .multifd_possible = uri_is_address(o->uri.kind),
	    .multifd_channels = p->multifd_channels,
	    .postcopy = o->caps[CAP_POSTCOPY_RAM],
	    .postcopy_possible = migration_capabilities[CAP_POSTCOPY_RAM].offered &&
				 uri_is_address(o->uri.kind) && !o->caps[CAP_X_IGNORE_SHARED] &&
				 !o->caps[CAP_BACKGROUND_SNAPSHOT],
	};
}

/* With a deadline that forces, it is known when it ends at the latest. */
static void put_deadline(const struct migration *mg, struct migration_info *info)
{
	const struct deadline *d = &mg->out.deadline;
	uint64_t forced;

	info->has_deadline = status_busy(info->status) && deadline_left(d, &info->deadline_ms);
	if (!info->has_deadline || d->policy != DEADLINE_FORCE || info->phase != MIG_PHASE_PASS)
		return;
	forced = info->deadline_ms + info->predicted_downtime_ms;
	info->eta_ms = info->has_eta ? MIN(info->eta_ms, forced) : forced;
	info->has_eta = true;
}

/* Rates that were measured before do not hold while the destination stands still. */
static void put_silence(const struct migration *mg, struct migration_info *info)
{
	if (!status_busy(info->status) ||
	    patience_silence_ns(&mg->out.patience) < SILENT_MS * INT64_C(1000000))
		return;
	info->phase = MIG_PHASE_SILENT;
	info->converges = false;
	info->has_eta = false;
}

void migration_query(struct migration *mg, struct migration_info *info)
{
	struct forecast_figures f = figures_of(mg);

	*info = (struct migration_info){.status = status_get(&mg->out.status), .error_desc = ""};
	incoming_lazy_query(&mg->in, info);
	if (info->status != MIG_NONE) {
		stats_fill(&mg->out.stats, &f, info);
		put_silence(mg, info);
		put_deadline(mg, info);
		info->has_xbzrle = info->has_ram && mg->set.caps[CAP_XBZRLE];
		info->has_compression = info->has_ram && mg->set.caps[CAP_COMPRESS];
		info->xbzrle.cache_size = mg->set.params.xbzrle_cache_size;
		info->throttle_percent = f.throttle;
		put_error(info, &mg->out.error, mg->out.error_text);
		return;
	}
	info->status = status_get(&mg->in.status);
	if (info->status == MIG_SETUP) /* listening: no source has connected */
		info->status = MIG_NONE;
	put_error(info, &mg->in.error, mg->in.error_text);
	incoming_postcopy_query(&mg->in, info);
	info->has_address = mg->in.has_address;
	info->address = mg->in.address;
	if (recover_listen_address(&mg->in.recover, &info->address))
		info->has_address = true;
}

/* ---- the end of the program ---- */

void migration_report_given_up(struct migration *mg)
{
	struct migration_info info;

	migration_query(mg, &info);
	if (status_busy(status_get(&mg->out.status)))
		report_outgoing_given_up(&mg->out, info.percent);
	incoming_postcopy_report_end(&mg->in);
	if (status_get(&mg->in.status) == MIG_ACTIVE)
		report_incoming_given_up(&mg->in);
}

int migration_check_quit(struct migration *mg, struct err *err)
{
	struct migration_info info;

	migration_query(mg, &info);
	return report_check_quit(&mg->out, info.percent, err);
}
