/* balloon-stats.h - what a guest tells of its memory, by QEMU's names */
#pragma once

/* STAT(i, wire) of each, by index in what the device keeps. */
/* clang-format off */
#define BALLOON_STAT_MEMBERS(STAT)      \
	STAT(0, "stat-swap-in"),        \
	STAT(1, "stat-swap-out"),       \
	STAT(2, "stat-major-faults"),   \
	STAT(3, "stat-minor-faults"),   \
	STAT(4, "stat-free-memory"),    \
	STAT(5, "stat-total-memory"),   \
	STAT(6, "stat-available-memory"), \
	STAT(7, "stat-disk-caches"),    \
	STAT(8, "stat-htlb-pgalloc"),   \
	STAT(9, "stat-htlb-pgfail")
/* clang-format on */
