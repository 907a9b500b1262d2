"""Every capability, parameter and figure of migration, and the tests that show what it does.

tests/guest/test_rows.py compares this with the schema of the running program and with the tests that
exist: a row without a test, or that is gone, fails. A test is named FOLDER/FILE:TEST, the file
without its ending: unit/test-params:test_values, guest/test_modes:test_move.
"""

# What is there and refused; the text behind "is not supported by this version of minivmm".
ABSENT_CAPABILITIES = {
    "rdma-pin-all": ": use tcp: or unix:",
    "zero-blocks": ": copy the disks first, or share them",
    "x-colo": "",
    "block": ": copy the disks first, or share them",
    "dirty-bitmaps": "",
}

CAPABILITIES = {
    "xbzrle": ["guest/test_modes:test_move", "guest/test_statistics:test_counted_on_the_wire",
               "interop/test_encoders_qemu:test_ram_is_equal"],
    "auto-converge": ["guest/test_control:test_auto_converge", "unit/test-control:test_steps"],
    "compress": ["guest/test_modes:test_move", "guest/test_statistics:test_counted_on_the_wire",
                 "interop/test_encoders_qemu:test_ram_is_equal"],
    "events": ["guest/test_rows:test_events_are_asked_for", "guest/test_migrate:test_events_and_statistics"],
    "release-ram": ["guest/test_release_ram:test_released"],
    "return-path": ["guest/test_migrate:test_return_path", "interop/test_qemu:test_return_path"],
    "pause-before-switchover": ["guest/test_migrate:test_pause_before_switchover",
                                "guest/test_cancel:test_pre_switchover"],
    "multifd": ["guest/test_modes:test_move", "interop/test_multifd_qemu:test_ram_is_equal"],
    "postcopy-blocktime": ["guest/test_postcopy_figures:test_blocktime", "unit/test-blocktime:test_one_page"],
    "late-block-activate": ["guest/test_switchover:test_late_block_activate"],
    "x-ignore-shared": ["guest/test_shared:test_same_file", "interop/test_qemu:test_shared_ram"],
    "validate-uuid": ["guest/test_switchover:test_validate_uuid"],
    "zero-copy-send": ["guest/test_multifd:test_zero_copy", "guest/test_multifd:test_zero_copy_conflicts"],
    "dirty-limit": ["guest/test_control:test_dirty_limit_capability",
                    "guest/test_control:test_dirty_limit_is_refused"],
    "background-snapshot": ["guest/test_background:test_one_instant", "unit/test-write-protect:test_instant"],
    "postcopy-ram": ["interop/test_postcopy_qemu:test_runs_ahead", "guest/test_postcopy:test_same_memory"],
    "postcopy-preempt": ["interop/test_postcopy_qemu:test_runs_ahead", "guest/test_postcopy:test_same_memory"],
    "mapped-ram": ["guest/test_mapped:test_save_and_load", "interop/test_mapped_qemu:test_to_qemu_and_back"],
}

# Those that query-migrate-capabilities does not list, for managers switch on what it lists.
UNLISTED_CAPABILITIES = {
    "switchover-ack": ["unit/test-switchover:test_source_waits_for_ack",
                       "unit/test-switchover:test_destination_agrees",
                       "interop/test_switchover_peers:test_ack"],
}

# The text behind "... by this version of minivmm, beyond its default", and a value that is refused.
ABSENT_PARAMETERS = {
    "x-checkpoint-delay": (1, ""),
    "block-incremental": (True, ": copy the disks first, or share them"),
}

# A list, shown once it has been set; guest/test_surface:test_bitmap_mapping.
STRUCTURED_PARAMETERS = ["block-bitmap-mapping"]

# Default; values that are out of range with the phrase that says so; the tests of its effect.
ROUNDS = "a value between 0 and 1000"
DELAY = "a value between 0 and 100000"
PERCENT = "an integer in the range of 1 to 99"
ANNOUNCED = ["guest/test_switchover:test_announcements", "unit/test-announce:test_rounds"]
THROTTLED = ["guest/test_control:test_auto_converge", "unit/test-control:test_steps"]
COMPRESSED = ["guest/test_modes:test_move", "unit/test-encoders:test_compress"]
PARAMETERS = {
    "announce-initial": (50, [100001], DELAY, ANNOUNCED),
    "announce-max": (550, [100001], DELAY, ANNOUNCED),
    "announce-rounds": (5, [1001], ROUNDS, ANNOUNCED),
    "announce-step": (100, [0, 10001], "a value between 1 and 10000", ANNOUNCED),
    "compress-level": (1, [10], "a value between 0 and 9",
                       COMPRESSED + ["unit/test-encoders:test_compress_level_0"]),
    "tls-creds": ("", [], "", ["guest/test_tls:test_move", "interop/test_tls_qemu:test_move"]),
    "tls-hostname": ("", [], "", ["guest/test_tls:test_destination_is_not_the_right_one"]),
    "tls-authz": ("", [], "", ["guest/test_tls:test_source_is_not_let_in", "unit/test-authz:simple"]),
    "compress-threads": (8, [0], "a value between 1 and 255", COMPRESSED),
    "compress-wait-thread": (True, [], "", ["unit/test-encoders:test_compress_does_not_wait"]),
    "decompress-threads": (2, [0], "a value between 1 and 255", COMPRESSED),
    "throttle-trigger-threshold": (50, [0, 101], "an integer in the range of 1 to 100",
                                   THROTTLED + ["unit/test-control:test_due"]),
    "cpu-throttle-initial": (20, [0, 100], PERCENT, THROTTLED),
    "cpu-throttle-increment": (10, [0, 100], PERCENT, THROTTLED),
    "cpu-throttle-tailslow": (False, [], "", THROTTLED + ["unit/test-control:test_tailslow"]),
    "max-bandwidth": (128 << 20, [], "", ["guest/test_statistics:test_limits_and_estimates",
                                          "guest/test_migrate:test_parameters_in_flight"]),
    "downtime-limit": (300, [2000001], "an integer in the range of 0 to (2000 * 1000) ms",
                       ["guest/test_migrate:test_several_passes",
                        "guest/test_migrate:test_parameters_in_flight"]),
    "multifd-channels": (2, [0], "a value between 1 and 255", ["guest/test_modes:test_move",
                                                               "guest/test_multifd:test_mismatch"]),
    "xbzrle-cache-size": (64 << 20, [0, 2048, 5000], "a power of two no less than the target page size",
                          ["guest/test_encoders:test_cache_size_in_flight",
                           "unit/test-encoders:test_xbzrle_live_size"]),
    "max-cpu-throttle": (99, [0, 19, 100], "an integer in the range of cpu_throttle_initial to 99",
                         ["guest/test_control:test_throttle_has_a_cap"]),
    "multifd-compression": ("none", [], "", ["guest/test_modes:test_move",
                                             "unit/test-multifd:test_compressors"]),
    "multifd-zlib-level": (1, [10], "a value between 0 and 9", ["guest/test_multifd:test_levels"]),
    "multifd-zstd-level": (1, [21], "a value between 0 and 20", ["guest/test_multifd:test_levels"]),
    "zero-page-detection": ("multifd", [], "", ["interop/test_multifd_peers:test_ram_is_equal",
                                                "guest/test_multifd:test_zero_pages"]),
    "max-postcopy-bandwidth": (0, [], "", ["guest/test_postcopy_source:test_limit"]),
    "direct-io": (False, [], "", ["guest/test_mapped:test_save_and_load", "interop/test_mapped_qemu:test_to_qemu_and_back"]),
    "x-vcpu-dirty-limit-period": (1000, [0, 1001], "a value between 1 and 1000",
                                  ["guest/test_control:test_dirty_limit_capability"]),
    "vcpu-dirty-limit": (1, [0], "at least 1, in MB/s", ["guest/test_control:test_dirty_limit_capability"]),
    "mode": ("normal", [], "", ["guest/test_rows:test_modes_of_cpr"]),
    "avail-switchover-bandwidth": (0, [], "", ["guest/test_migrate:test_avail_switchover_bandwidth",
                                               "unit/test-forecast:test_converges"]),
    "x-minivmm-deadline": (0, [31536001], "a value between 0 and 31536000, in seconds",
                           ["guest/test_deadline:test_cancel", "unit/test-deadline:test_passes"]),
    "x-minivmm-deadline-policy": ("cancel", [], "", ["guest/test_deadline:test_cancel",
                                                     "guest/test_deadline:test_postcopy",
                                                     "guest/test_deadline:test_force"]),
    "x-minivmm-peer-timeout": (0, [31536001], "a value between 0 and 31536000, in seconds",
                               ["guest/test_sockets:test_peer_never_reads"]),
    "x-minivmm-checksum": (False, [], "", ["guest/test_checksum:test_damaged"]),
    "x-minivmm-load-clock": ("freeze", [], "", ["guest/test_clock:test_load", "unit/test-clock:advance"]),
    "x-minivmm-lazy-load": (True, [], "", ["guest/test_lazy:test_eager", "guest/test_lazy:test_runs_at_once"]),
    "x-minivmm-lazy-rate": (0, [], "", ["guest/test_lazy:test_same_memory", "unit/test-lazy:test_rate"]),
}

# -global migration.NAME=on|off of what is neither; the manual lists them.
PROPERTIES = {
    "send-switchover-start": ["unit/test-switchover:test_start_is_sent_when_asked_for",
                              "interop/test_switchover_peers:test_start",
                              "interop/test_switchover_peers:test_start_is_refused"],
    "switchover-ack-legacy": ["unit/test-switchover:test_source_waits_for_ack",
                              "unit/test-switchover:test_destination_agrees",
                              "interop/test_switchover_peers:test_ack"],
    "x-preempt-pre-7-2": ["guest/test_postcopy_source:test_early"],
    "x-minivmm-fault-float": ["guest/test_postcopy:test_where_faults_are_handled"],
    "x-minivmm-postcopy-1g": ["guest/test_postcopy_1g:test_asked_for", "unit/test-postcopy-ram:pages_of_1g"],
    "multifd-flush-after-each-section": ["interop/test_multifd_peers:test_sections_at_both_ends",
                                         "interop/test_multifd_peers:test_old_qemu_refuses"],
}

# Members of what query-migrate returns, with those of the structs in it.
WIRE = "guest/test_statistics:test_counted_on_the_wire"
SHOWN = "guest/test_statistics:test_what_is_shown_when"
ESTIMATES = "guest/test_statistics:test_limits_and_estimates"
NO_POSTCOPY = "guest/test_rows:test_figures_of_other_modes"
COURSE = "guest/test_deadline:test_course_without_end"
RATES = "unit/test-encoder-stats:test_counts_and_rates"
NOT_HERE = "interop/test_schema_contract:test_shapes"   # of the interface; no such thing is moved here
FIGURES = {
    "status": [SHOWN, "guest/test_migrate:test_events_and_statistics"],
    "ram": [SHOWN],
    "ram.transferred": [WIRE],
    "ram.remaining": ["guest/test_statistics:test_stopped_guest"],
    "ram.total": ["guest/test_statistics:test_stopped_guest"],
    "ram.duplicate": [WIRE],
    "ram.skipped": [NO_POSTCOPY],
    "ram.normal": [WIRE],
    "ram.normal-bytes": [WIRE],
    "ram.dirty-pages-rate": ["guest/test_statistics:test_dirty_pages_rate"],
    "ram.mbps": [ESTIMATES],
    "ram.dirty-sync-count": [WIRE],
    "ram.postcopy-requests": [NO_POSTCOPY, "unit/test-postcopy-source:test_requests"],
    "ram.page-size": ["guest/test_migrate:test_events_and_statistics"],
    "ram.multifd-bytes": ["guest/test_multifd:test_bytes_on_the_wire", "guest/test_mapped:test_save_and_load"],
    "ram.pages-per-second": [ESTIMATES],
    "ram.precopy-bytes": [WIRE, "guest/test_statistics:test_stopped_and_continued"],
    "ram.downtime-bytes": [WIRE, "guest/test_statistics:test_stopped_and_continued"],
    "ram.postcopy-bytes": [NO_POSTCOPY, "unit/test-postcopy-source:test_requests"],
    "ram.dirty-sync-missed-zero-copy": ["guest/test_multifd:test_zero_copy"],
    **{f"disk{m}": [NOT_HERE] for m in
       ("", *(f".{m}" for m in """transferred remaining total duplicate skipped normal normal-bytes dirty-pages-rate mbps
        dirty-sync-count postcopy-requests page-size multifd-bytes pages-per-second precopy-bytes downtime-bytes
        postcopy-bytes dirty-sync-missed-zero-copy""".split()))},
    "vfio": [NOT_HERE],
    "vfio.transferred": [NOT_HERE],
    "xbzrle-cache": [SHOWN],
    "xbzrle-cache.cache-size": [WIRE],
    "xbzrle-cache.bytes": [WIRE],
    "xbzrle-cache.pages": [WIRE],
    "xbzrle-cache.cache-miss": [WIRE, RATES],
    "xbzrle-cache.cache-miss-rate": [RATES],
    "xbzrle-cache.encoding-rate": [RATES],
    "xbzrle-cache.overflow": [WIRE, RATES],
    "compression": [SHOWN],
    "compression.pages": [WIRE],
    "compression.busy": [WIRE, RATES],
    "compression.busy-rate": [RATES],
    "compression.compressed-size": [WIRE],
    "compression.compression-rate": [RATES],
    "total-time": [WIRE, "guest/test_statistics:test_pause_counts_as_downtime"],
    "expected-downtime": [ESTIMATES, "unit/test-forecast:test_converges"],
    "downtime": [WIRE, "guest/test_statistics:test_pause_counts_as_downtime"],
    "setup-time": [WIRE],
    "cpu-throttle-percentage": ["guest/test_control:test_auto_converge"],
    "error-desc": [SHOWN, "guest/test_migrate:test_failed_connect"],
    "blocked-reasons": ["guest/test_rows:test_blocked_reasons", "unit/test-control:test_blockers"],
    "postcopy-blocktime": ["guest/test_postcopy_figures:test_blocktime", "unit/test-blocktime:test_all_wait"],
    "postcopy-vcpu-blocktime": ["unit/test-blocktime:test_one_page", "unit/test-blocktime:test_signals"],
    "postcopy-latency": ["unit/test-blocktime:test_one_page"],
    "postcopy-latency-dist": ["guest/test_postcopy_figures:test_without_blocktime", "unit/test-blocktime:test_buckets"],
    "postcopy-vcpu-latency": ["unit/test-blocktime:test_signals"],
    "postcopy-non-vcpu-latency": ["unit/test-blocktime:test_one_page", "unit/test-blocktime:test_unknown"],
    "socket-address": ["guest/test_statistics:test_socket_address"],
    "x-minivmm": [COURSE],
    "x-minivmm.phase": [COURSE, "guest/test_deadline:test_course_with_a_pause"],
    "x-minivmm.pass": [COURSE],
    "x-minivmm.percent": [COURSE, "unit/test-forecast:test_percent"],
    "x-minivmm.eta": ["unit/test-forecast:test_converges"],
    "x-minivmm.converges": [COURSE, "unit/test-forecast:test_converges"],
    "x-minivmm.predicted-downtime": [COURSE, "unit/test-forecast:test_converges",
                                     "guest/test_convergence:test_foretold"],
    "x-minivmm.deadline": ["guest/test_deadline:test_changed_in_flight"],
    "x-minivmm.cheapest-step": [COURSE, "unit/test-forecast:test_steps"],
    "x-minivmm.cheapest-step.action": ["unit/test-forecast:test_steps"],
    "x-minivmm.cheapest-step.value": [COURSE, "unit/test-forecast:test_steps_help"],
    "x-minivmm.cheapest-step.cost": [COURSE, "unit/test-forecast:test_steps"],
    "x-minivmm.cheapest-step.text": [COURSE, "unit/test-forecast:test_steps"],
    "x-minivmm-lazy": ["guest/test_lazy:test_same_memory", "guest/test_lazy:test_eager"],
    "x-minivmm-lazy.resume-us": ["guest/test_lazy:test_same_memory"],
    "x-minivmm-lazy.resident-us": ["guest/test_lazy:test_same_memory"],
    "x-minivmm-lazy.total": ["guest/test_lazy:test_same_memory"],
    "x-minivmm-lazy.remaining": ["guest/test_lazy:test_same_memory", "unit/test-lazy:test_rate"],
    "x-minivmm-lazy.faults": ["guest/test_lazy:test_runs_at_once", "unit/test-lazy:test_touched"],
    "x-minivmm-lazy.working-set": ["guest/test_lazy:test_working_set", "unit/test-lazy:test_working_set_kept"],
    "x-minivmm-lazy.stalled": ["guest/test_lazy:test_file_is_changed"],
}

COMMANDS = {
    "migrate": ["guest/test_modes:test_move", "guest/test_rows:test_refused_migrate",
                "guest/test_channels:test_move", "guest/test_channels:test_refused"],
    "migrate-incoming": ["guest/test_migrate:test_incoming_defer", "guest/test_channels:test_refused",
                         "unit/test-migration-engine:test_refusals_by_state"],
    "migrate_cancel": ["guest/test_cancel:test_active", "guest/test_cancel:test_again"],
    "migrate-start-postcopy": ["interop/test_postcopy_qemu:test_runs_ahead", "guest/test_postcopy_source:test_refusals"],
    "migrate-pause": ["guest/test_recover_control:test_pause", "guest/test_recover_control:test_only_the_source_notices"],
    "migrate-recover": ["guest/test_recover:test_cut_in_the_sweep", "guest/test_recover_control:test_out_of_band",
                        "interop/test_recover_qemu:test_cut_twice"],
    "migrate-continue": ["guest/test_migrate:test_pause_before_switchover"],
    "migrate-set-capabilities": ["guest/test_rows:test_capabilities"],
    "query-migrate-capabilities": ["guest/test_rows:test_capabilities"],
    "migrate-set-parameters": ["guest/test_rows:test_parameters"],
    "query-migrate-parameters": ["guest/test_rows:test_parameters"],
    "query-migrate": [SHOWN],
    "announce-self": ["guest/test_switchover:test_announcements", "unit/test-announce:test_replaced_by_id"],
    "calc-dirty-rate": ["guest/test_control:test_dirty_rate", "guest/test_control:test_refused"],
    "query-dirty-rate": ["guest/test_control:test_dirty_rate"],
    "set-vcpu-dirty-limit": ["guest/test_control:test_vcpu_dirty_limit", "guest/test_control:test_refused"],
    "client_migrate_info": ["guest/test_surface:test_not_in_use"],
    "xen-set-global-dirty-log": ["guest/test_surface:test_global_dirty_log"],
    "cancel-vcpu-dirty-limit": ["guest/test_control:test_vcpu_dirty_limit"],
    "query-vcpu-dirty-limit": ["guest/test_control:test_vcpu_dirty_limit"],
}


def all_tests():
    """Every test that a row names."""
    for names in (*CAPABILITIES.values(), *UNLISTED_CAPABILITIES.values(), *(p[3] for p in PARAMETERS.values()), *FIGURES.values(),
                  *COMMANDS.values(), *PROPERTIES.values()):
        yield from names
