/* reference-texts.c - what the tables do not say of a command: in the order of the names */
#include "qmp/reference.h"

#include <stddef.h>

#define BUSY   "There's a migration process in progress. "
#define NO_FD  "No file descriptor supplied via SCM_RIGHTS. "
#define NO_JOB "Job not found. Job 'x' in state 'y' cannot accept command verb 'z'."

/* It would align one column of every other row. */
/* clang-format off */
const struct qmp_text qmp_texts[] = {
    {"add-fd", "1.2",
     "Puts the descriptor that came with the request (SCM_RIGHTS) into a set, a new one if no "
     "number is given; /dev/fdset/N is a path to the set.",
     NO_FD "Parameter 'fdset-id' expects a non-negative value."},
    {"announce-self", "4.0",
     "Tells the network where the guest is: RARP and virtio-net announcements in rounds, from each "
     "network device or from those named. A call with the id of an earlier one takes its place.",
     NULL},
    {"balloon", "0.14", "Asks the guest to give back what memory it has beyond value bytes.",
     "DeviceNotActive: No balloon device has been activated. Parameter 'target' expects a size."},
    {"block_resize", "0.14", "Gives a disk another size, and tells the guest. One of device and "
     "node-name is given.",
     "Cannot find device='x' nor node-name='y'. Node 'x' is busy, and with what."},
    {"blockdev-add", "2.9", "Opens an image as a node that no disk uses yet.",
     "'node-name' must be specified for the root node. Duplicate nodes with node-name='x'. Could not "
     "open 'x', and why."},
    {"blockdev-del", "2.9", "Closes a node that no disk uses.",
     "Failed to find node with node-name='x'. Node x is in use."},
    {"calc-dirty-rate", "5.2",
     "Measures how fast the guest dirties memory, for calc-time seconds (1 to 60), on a thread of its "
     "own. sample-pages: 128 to 16384 of a GiB, 512 if it is not given. mode: page-sampling if it is "
     "not given.",
     "the dirty rate is already being measured. mode x is not enabled, use other method instead."},
    {"cancel-vcpu-dirty-limit", "7.1", "Lifts the limit of one vCPU, or of all.",
     "incorrect cpu index specified."},
    {"client_migrate_info", "0.14", "Would tell SPICE clients where the guest goes: there are none.",
     "Parameter 'protocol' expects 'spice'. DeviceNotActive: SPICE is not in use."},
    {"closefd", "0.14", "Closes a descriptor that getfd has named.",
     "File descriptor named 'x' not found."},
    {"cont", "0.14",
     "Runs the guest. While a migration is awaited: the guest is to run when it has come. A guest that "
     "was handed to another machine runs here only with x-minivmm-force.",
     "Migration is not finalized yet. Resetting the Virtual Machine is required. Why the guest is not "
     "here. Image lock errors."},
    {"device-list-properties", "1.2", "The properties of a model of -device, with their defaults.",
     "DeviceNotFound: Device 'x' not found."},
    {"getfd", "0.14",
     "Names the descriptor that came with the request (SCM_RIGHTS), the newest if there are several. "
     "An earlier one of that name is closed.",
     NO_FD "Parameter 'fdname' expects a name not starting with a digit."},
    {"human-monitor-command", "0.14",
     "A line of the human monitor; returns its text. What goes wrong is told in the text.",
     "Parameter 'cpu-index' expects a CPU number."},
    {"job-cancel", "3.0", "The job undoes what it has done and concludes with an error.", NO_JOB},
    {"job-complete", "3.0", "Ends a job that is ready.",
     NO_JOB " The active block job 'x' cannot be completed."},
    {"job-dismiss", "3.0", "Forgets a job that is concluded.", NO_JOB},
    {"job-finalize", "3.0", "The last step of a job that is pending.", NO_JOB},
    {"job-pause", "3.0", "The job stops at its next step.", NO_JOB " Job is already paused."},
    {"job-resume", "3.0", "A paused job goes on.",
     NO_JOB " Can't resume a job that was not paused."},
    {"migrate", "0.14",
     "Starts to move the guest; the result is in query-migrate and the events. One of uri and channels "
     "is given. resume: a postcopy that is paused goes on there. detach is always so.",
     BUSY "Guest is waiting for an incoming migration. Can't migrate the vm that was paused due to "
     "previous migration. Parameter 'uri' expects a valid migration protocol. File descriptor named "
     "'x' has not been found. What keeps the guest from being moved."},
    {"migrate-continue", "2.11", "Leaves that state; of use with pre-switchover.",
     "Migration not in expected state: x."},
    {"migrate-incoming", "2.3",
     "Waits for a guest there, after -incoming defer. exit-on-error: end with status 1 when the load "
     "fails.",
     "'-incoming' was not specified on the command line. The incoming migration has already been "
     "started. unknown migration protocol: x."},
    {"migrate-pause", "3.0", "Cuts the connection of a postcopy, at either end.",
     "migrate-pause is currently only supported during postcopy-active state."},
    {"migrate-recover", "3.0", "A paused postcopy's destination waits there for its source.",
     "Migrate recover can only be run when postcopy is paused."},
    {"migrate-set-capabilities", "1.2", "Switches all or none of them.",
     BUSY "Which capability does not go with which, or is not supported."},
    {"migrate-set-parameters", "2.4",
     "Sets all or none of them; those that can follow do so in a migration that is under way.",
     "Parameter 'x' expects what. Invalid mapping given for block-bitmap-mapping, and why."},
    {"migrate-start-postcopy", "2.5", "The guest goes to the destination now, the rest of its memory "
     "after it.",
     "Enable postcopy with migrate_set_capability before the start of migration. Postcopy must be "
     "started after migration has been started."},
    {"migrate_cancel", "0.14", "Gives the migration up; the guest runs on here.",
     "Of a postcopy, whose guest is at the destination."},
    {"object-add", "2.0",
     "Makes an object, as -object does.",
     "Parameter 'qom-type' does not accept value 'x'. attempt to add duplicate property 'x' to "
     "object (type 'container'). Others of the type."},
    {"object-del", "2.0",
     "Removes an object that nothing uses.",
     "object 'x' not found. object 'x' is in use, can not be deleted."},
    {"pmemsave", "0.14",
     "Writes guest memory, size bytes from the guest-physical address val, to a file, which appears "
     "whole. All of it has to be RAM.",
     "Could not open 'x', and why. there is no RAM at an address."},
    {"qmp_capabilities", "0.13", "Ends the negotiation; enable: oob.",
     "CommandNotFound: Capabilities negotiation is already complete, command ignored."},
    {"qom-get", "1.2", "The value of a property of what is at a path, as qom-list tells them.",
     "DeviceNotFound: Device 'x' not found. Property 'type.x' not found."},
    {"qom-list", "1.2",
     "The properties of what is at a path: /machine has the keys of -machine, /machine/peripheral the "
     "devices by id, /machine/unattached the vCPUs, /objects and /chardevs those by id.",
     "DeviceNotFound: Device 'x' not found."},
    {"qom-list-get", "10.1", "qom-list of each path, with all values.",
     "DeviceNotFound: Device 'x' not found."},
    {"qom-list-properties", "2.12", "The properties that an object of the type has.",
     "DeviceNotFound: Class 'x' not found."},
    {"qom-list-types", "1.1",
     "The types there are: models of devices, of -object and of -chardev, processor models, and those "
     "they are kinds of. implements: only what is of that type. abstract: also those that nothing is "
     "made of.",
     NULL},
    {"qom-set", "1.2",
     "Sets a property: guest-stats-polling-interval of a balloon, in seconds, is the one that can be "
     "set.",
     "DeviceNotFound: Device 'x' not found. Property 'type.x' is not writable."},
    {"query-accelerators", "10.2", "Which accelerator runs the guest, and which there are: kvm.", NULL},
    {"query-balloon", "0.14", "Memory that the guest has, less what is in the balloon.",
     "DeviceNotActive: No balloon device has been activated."},
    {"query-block", "0.14", "The disks, and the nodes that they use.", NULL},
    {"query-blockstats", "0.14",
     "Bytes, requests, time and failures of each disk, or with query-nodes of each node.", NULL},
    {"query-chardev", "0.14", "Label, filename and whether a client is there, of each.", NULL},
    {"query-colo-status", "3.1", "COLO is not there: all is none.", NULL},
    {"query-command-line-options", "1.5", "What options of the command line can hold.",
     "invalid option name: x."},
    {"query-commands", "0.14", "The names of all commands.", NULL},
    {"query-cpu-definitions", "1.2",
     "The processor models, and of each the features that this host has not got.", NULL},
    {"query-cpu-model-expansion", "2.8",
     "What a model with such properties is on this host: all of its features, true or false. static: "
     "as properties of the model base, which has none. full: of the model itself, with all that -cpu "
     "takes.",
     "unable to find CPU model 'x'. Property 'x-x86_64-cpu.y' not found."},
    {"query-cpus-fast", "2.12", "Index, thread and place of each vCPU.", NULL},
    {"query-current-machine", "4.0", "The guest cannot suspend.", NULL},
    {"query-dirty-rate", "5.2", "What calc-dirty-rate has measured.", NULL},
    {"query-fdsets", "1.2",
     "The sets of descriptors.",
     NULL},
    {"query-iothreads", "2.0", "There are none that a user makes.", NULL},
    {"query-jobs", "3.0", "All jobs, up to their dismissal.", NULL},
    {"query-kvm", "0.14", "Both are true.", NULL},
    {"query-machines", "1.2", "What -machine takes.", NULL},
    {"query-memdev", "2.1", "The memory backends.", NULL},
    {"query-memory-size-summary", "2.11", "Bytes of memory.", NULL},
    {"query-migrate", "0.14",
     "Where a migration stands, at either end; it stays until the next one begins.", NULL},
    {"query-migrate-capabilities", "1.2", "All of them but those that managers switch on unasked.",
     NULL},
    {"query-migrate-parameters", "2.4", "All of them.", NULL},
    {"query-name", "0.14", "The guest's name, if it has one.", NULL},
    {"query-named-block-nodes", "2.0",
     "All nodes that have a name; flat: without what lies below their images.", NULL},
    {"query-qmp-schema", "2.5", "All commands, events and types.", NULL},
    {"query-stats", "7.1",
     "What KVM has counted, of the machine or of its vCPUs: what a kernel before 5.14 does not tell is "
     "not there.",
     NULL},
    {"query-stats-schemas", "7.1", "What query-stats can tell, with types and units.", NULL},
    {"query-status", "0.14", "The run state. singlestep is always false.", NULL},
    {"query-target", "1.2", "x86_64.", NULL},
    {"query-uuid", "0.14", "The machine's UUID, zeros without one.", NULL},
    {"query-vcpu-dirty-limit", "7.1", "The vCPUs that are limited.", NULL},
    {"query-version", "0.14",
     "The version of QEMU's interface that this is, and the program's own as package.", NULL},
    {"query-vm-generation-id", "2.9", "That of -device vmgenid.",
     "VM Generation ID device not found."},
    {"query-xen-replication-status", "2.9", "Nothing is replicated, so there is no error.", NULL},
    {"query-yank", "6.0", "Connections that may be cut.", NULL},
    {"quit", "0.14",
     "Ends the program, also with -no-shutdown; while the guest is being saved only with "
     "x-minivmm-force.",
     "What would be given up."},
    {"remove-fd", "1.2",
     "Removes a descriptor from its set, or all of them.",
     "File descriptor named 'fdset-id:1, fd:2' not found."},
    {"set-action", "6.0",
     "What the guest's reboot, power-off and panic lead to from now on, as -action has it. There is no "
     "watchdog.",
     "Parameter 'x' does not accept value 'y'."},
    {"set-vcpu-dirty-limit", "7.1",
     "Slows one vCPU, or all, down to dirty-rate MB/s of dirtying; 0 lifts the limit.",
     "dirty page limit feature requires KVM with accelerator property 'dirty-ring-size' set. incorrect "
     "cpu index specified."},
    {"set_link", "0.14", "Takes the cable of a network device out, or puts it in.",
     "DeviceNotFound: Device 'x' not found."},
    {"snapshot-delete", "6.0", "A job removes the snapshot of that tag from the devices.",
     "Job ID 'x' already in use. Invalid job ID 'x'. Others are the job's (query-jobs)."},
    {"snapshot-load", "6.0",
     "A job brings guest and disks back to the instant of that snapshot. x-minivmm-eager: all of its "
     "memory before it runs.",
     "As snapshot-delete."},
    {"snapshot-save", "6.0",
     "A job saves the guest into the images of its disks: the VM state into that of vmstate, which is "
     "one of devices.",
     "As snapshot-delete."},
    {"stop", "0.14",
     "Stops the guest and flushes its disks. While a migration is awaited: the guest is not to run when "
     "it has come.",
     "The guest is stopped, but a disk could not be flushed."},
    {"system_powerdown", "0.14", "Presses the power button.", "Why the guest is not here."},
    {"system_reset", "0.14", "The guest boots anew.", "Why the guest is not here."},
    {"x-colo-lost-heartbeat", "2.8", "Would ask COLO for a failover: it is not there.",
     "The feature 'colo' is not enabled."},
    {"xen-colo-do-checkpoint", "2.9", "Nothing is replicated, and nothing is done.", NULL},
    {"xen-load-devices-state", "2.7",
     "Loads the devices of a guest that does not run from a file that xen-save-devices-state has "
     "written, of minivmm or of QEMU. Memory stays as it is.",
     "Cannot update device state while vm is running. Unable to open x, and why. An IO error has "
     "occurred, and which: nothing has changed."},
    {"xen-save-devices-state", "1.1",
     "Writes the state of all devices, without memory and disks, to a file in QEMU's layout. A guest "
     "that runs stands still meanwhile. live (default true) false, of a guest that does not run: the "
     "disks are let go until cont.",
     "Unable to open x, and why. An IO error has occurred, and which."},
    {"xen-set-global-dirty-log", "1.3",
     "Notes what the guest writes, until a migration or a measurement needs the notes for itself.",
     NULL},
    {"xen-set-replication", "2.9", "Nothing is replicated: it changes nothing.",
     "Parameter 'failover' is only for stopping replication."},
    {"yank", "6.0", "Cuts these connections, or none when one does not exist.",
     "DeviceNotFound: Instance not found."},
    {NULL, NULL, NULL, NULL},
};
/* clang-format on */
