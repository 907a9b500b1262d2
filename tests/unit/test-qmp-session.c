/* A monitor from the client's side: greeting, negotiation, requests, events, descriptors, floods.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "tests/unit/check-main.h"
#include "tests/unit/qmp-rig.h"
#include "vmm/base/version.h"
#include "vmm/job.h"

#define GREETING                                                                                   \
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 7}, "          \
	"\"package\": \"" VERSION_TEXT "\"}, \"capabilities\": [\"oob\"]}}\r\n"
#define OK               "{\"return\": {}}\r\n"
#define ERROR(cls, desc) "{\"error\": {\"class\": \"" cls "\", \"desc\": \"" desc "\"}}\r\n"
#define GENERIC(desc)    ERROR("GenericError", desc)
#define NOT_FOUND(desc)  ERROR("CommandNotFound", desc)

START_TEST(test_greeting_alone)
{
	struct rig *r = rig_new();

	ck_assert_str_eq(peer_got(&r->peers[0]), GREETING);
	ck_assert_uint_eq(r->peers[0].writes, 1);
	/* a second peer is greeted anew, in negotiation */
	(void)rig_peer(r, 0);
	peer_close(&r->peers[0]);
	peer_open(&r->peers[0]);
	ck_assert_str_eq(peer_got(&r->peers[0]), GREETING);
	ck_assert_str_eq(peer_ask(&r->peers[0], "{\"execute\":\"query-status\"}"),
			 NOT_FOUND("Expecting capabilities negotiation with 'qmp_capabilities'"));
	rig_free(r);
}
END_TEST

START_TEST(test_negotiation)
{
	struct rig *r = rig_new();
	struct peer *p = &r->peers[0];

	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"nope\",\"id\":1}"),
			 "{\"id\": 1, \"error\": {\"class\": \"CommandNotFound\", \"desc\": "
			 "\"Expecting capabilities negotiation with 'qmp_capabilities'\"}}\r\n");
	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"qmp_capabilities\",\"arguments\":"
				     "{\"enable\":[\"zzz\"]}}"),
			 GENERIC("Parameter 'enable[0]' does not accept value 'zzz'"));
	ck_assert_str_eq(
	    peer_ask(p, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":\"oob\"}}"),
	    GENERIC("Invalid parameter type for 'enable', expected: array"));
	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"qmp_capabilities\",\"id\":{\"a\":[1,null]}}"),
			 "{\"return\": {}, \"id\": {\"a\": [1, null]}}\r\n");
	ck_assert_str_eq(
	    peer_ask(p, "{\"execute\":\"qmp_capabilities\"}"),
	    NOT_FOUND("Capabilities negotiation is already complete, command ignored"));
	/* each monitor by itself */
	ck_assert_ptr_nonnull(strstr(peer_ask(&r->peers[1], "{\"execute\":\"stop\"}"),
				     "Expecting capabilities negotiation"));
	rig_free(r);
}
END_TEST

static const struct {
	const char *ask, *answer;
} requests[] = {
    {"{\"execute\":\"nope\"}",								   NOT_FOUND("The command nope has not been found")             },
    {"{\"execute\":\"query-status\",\"id\":'it\\'s'}",
     "{\"return\": {\"status\": \"prelaunch\", \"singlestep\": false, \"running\": false}, "
     "\"id\": \"it's\"}\r\n"																  },
    {"{\"execute\":\"migrate-continue\"}",						       GENERIC("Parameter 'state' is missing")                      },
    {"{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"
     "[{\"capability\":\"events\"}]}}",						     GENERIC("Parameter 'capabilities[0].state' is missing")      },
    {"{\"execute\":\"query-status\",\"arguments\":{\"foo\":1}}",
     GENERIC("Parameter 'foo' is unexpected")														 },
    {"{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"
     "[{\"capability\":\"events\",\"state\":true,\"q\":1}]}}",			      GENERIC("Parameter 'capabilities[0].q' is unexpected")       },
    {"{\"execute\":\"migrate\",\"arguments\":{\"uri\":1}}",
     GENERIC("Invalid parameter type for 'uri', expected: string")											    },
    {"{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"x\",\"blk\":1}}",
     GENERIC("Invalid parameter type for 'blk', expected: boolean")											   },
    {"{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":[1]}}",
     GENERIC("Invalid parameter type for 'capabilities[0]', expected: object")										},
    {"{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"
     "[{\"capability\":\"zzz\",\"state\":true}]}}",					 GENERIC("Parameter 'capability' does not accept value 'zzz'")},
    {"{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"tls-creds\":1}}",
     GENERIC("Invalid parameter type for 'tls-creds', expected: StrOrNull")										   },
    {"{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"multifd-channels\":1.0}}",
     GENERIC("Parameter 'multifd-channels' expects uint64")												   },
    {"{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"multifd-channels\":1e3}}",
     GENERIC("Parameter 'multifd-channels' expects uint64")												   },
    {"{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"multifd-channels\":\"1\"}}",
     GENERIC("Parameter 'multifd-channels' expects uint64")												   },
    {"{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"multifd-channels\":null}}",
     GENERIC("Parameter 'multifd-channels' expects uint64")												   },
    {"{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"multifd-channels\":256}}",
     GENERIC("Parameter 'multifd-channels' expects uint8_t")												  },
    {"{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"multifd-channels\":-1}}",
     GENERIC("Parameter 'multifd-channels' expects uint8_t")												  },
    {"{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"x-checkpoint-delay\":-1}}",
     GENERIC("Parameter 'x-checkpoint-delay' expects uint32_t")											       },
    {"{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"max-bandwidth\":"
     "18446744073709551616}}",							      GENERIC("Parameter 'max-bandwidth' expects uint64")          },
    {"{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"multifd-compression\":\"lz4\"}}",
     GENERIC("Parameter 'multifd-compression' does not accept value 'lz4'")										   },
    {"{\"id\":5}",									       "{\"id\": 5, \"error\": {\"class\": \"GenericError\", \"desc\": \"QMP input "
		   "lacks member 'execute'\"}}\r\n"											 },
    {"{\"execute\":\"query-status\",\"foo\":1}",						 GENERIC("QMP input member 'foo' is unexpected")              },
    {"{\"exec-oob\":\"query-status\"}",							  GENERIC("QMP input member 'exec-oob' is unexpected")         },
    {"{\"execute\":1}",									  GENERIC("QMP input member 'execute' must be a string")       },
    {"{\"execute\":\"query-status\",\"arguments\":null}",
     GENERIC("QMP input member 'arguments' must be an object")												},
    {"{\"execute\":\"query-status\",\"arguments\":[]}",
     GENERIC("QMP input member 'arguments' must be an object")												},
    {"[]",										       GENERIC("QMP input must be a JSON object")                   },
    {"1 ",										       GENERIC("QMP input must be a JSON object")                   },
    {"\"s\"",										    GENERIC("QMP input must be a JSON object")                   },
    {"null\n",										   GENERIC("QMP input must be a JSON object")                   },
    {"{\"execute\":\"q\",}",								     GENERIC("JSON parse error, expecting value")                 },
    {"migrate_set_speed ",
     GENERIC("JSON parse error, invalid keyword 'migrate'") GENERIC("JSON parse error, stray '_'")                                                            },
    {"\n{\"execute\":\"migrate_set_speed\",\"arguments\":{\"value\":1}}",
     NOT_FOUND("The command migrate_set_speed has not been found")											    },
    {"{\"execute\":\"migrate_set_downtime\"}",
     NOT_FOUND("The command migrate_set_downtime has not been found")											 },
    {"{\"execute\":\"migrate-set-cache-size\"}",
     NOT_FOUND("The command migrate-set-cache-size has not been found")										       },
    {"{\"execute\":\"query-migrate-cache-size\"}",
     NOT_FOUND("The command query-migrate-cache-size has not been found")										     },
    {"{\"execute\":\"query-events\"}",							   NOT_FOUND("The command query-events has not been found")     },
    {"{\"execute\":\"human-monitor-command\"}",						  GENERIC("Parameter 'command-line' is missing")               },
    {"{\"execute\":\"query-name\"}",							     OK							   },
    {"{\"execute\":\"query-migrate\"}",							  OK							   },
    {"{\"execute\":\"query-kvm\"}",							      "{\"return\": {\"enabled\": true, \"present\": true}}\r\n"   },
    {"{\"execute\":\"query-uuid\"}",
     "{\"return\": {\"UUID\": \"00000000-0000-0000-0000-000000000000\"}}\r\n"										 },
    {"{\"execute\":\"query-memory-size-summary\"}",
     "{\"return\": {\"base-memory\": 67108864, \"plugged-memory\": 0}}\r\n"										   },
    {"{\"execute\":\"query-target\"}",							   "{\"return\": {\"arch\": \"x86_64\"}}\r\n"                   },
    {"{\"execute\":\"query-block\"}",							    "{\"return\": []}\r\n"                                       },
    {"{\"execute\":\"query-chardev\"}",
     "{\"return\": [{\"label\": \"m0\", \"filename\": \"unix:/m0,server=on\", "
     "\"frontend-open\": true}, {\"label\": \"m1\", \"filename\": \"unix:/m1,server=on\", "
     "\"frontend-open\": true}]}\r\n"															 },
    {"{\"execute\":\"query-command-line-options\",\"arguments\":{\"option\":\"zz\"}}",
     GENERIC("invalid option name: zz")														       },
    {"{\"execute\":\"announce-self\"}",							  GENERIC("Parameter 'initial' is missing")                    },
    {"{\"execute\":\"announce-self\",\"arguments\":{\"initial\":50,\"max\":550,\"rounds\":5,"
     "\"step\":100,\"interfaces\":[]}}",						    OK							   },
    {"{\"execute\":\"pmemsave\",\"arguments\":{\"val\":0,\"size\":16,\"filename\":\"x\"}}",
     GENERIC("guest memory 0x0 + 0x10 cannot be saved: there is no RAM at 0x0")									       },
    {"{\"execute\":\"pmemsave\",\"arguments\":{\"val\":1,\"size\":-1,\"filename\":\"x\"}}",
     GENERIC("Parameter 'size' reaches beyond the address space")											     },
};

START_TEST(test_requests)
{
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0);

	for (size_t i = 0; i < ARRAY_LEN(requests); i++)
		ck_assert_str_eq(peer_ask(p, requests[i].ask), requests[i].answer);
	rig_free(r);
}
END_TEST

START_TEST(test_many_in_one_read)
{
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0);
	char want[16 * 40] = "", ask[16 * 40] = "";

	for (int i = 0; i < 12; i++) {
		(void)snprintf(ask + strlen(ask), 40, "{\"execute\":\"stop\",\"id\":%d}", i);
		(void)snprintf(want + strlen(want), 40, "{\"return\": {}, \"id\": %d}\r\n", i);
	}
	ck_assert_str_eq(peer_ask(p, ask), want);
	ck_assert_uint_eq(p->writes, 1 + 1 + 12);
	rig_free(r);
}
END_TEST

START_TEST(test_pretty)
{
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 1);

	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"query-kvm\",\"id\":[]}"),
			 "{\n    \"return\": {\n        \"enabled\": true,\n        \"present\": "
			 "true\n    },\n    \"id\": []\n}\r\n");
	rig_free(r);
}
END_TEST

/* The event's name, from behind the time stamp on; asserts the form of what is before. */
static const char *event_tail(const char *line)
{
	int n = 0;
	long s, us;

	ck_assert_int_eq(sscanf(line,
				"{\"timestamp\": {\"seconds\": %ld, \"microseconds\": %ld}, %n", &s,
				&us, &n),
			 2);
	ck_assert_int_gt(n, 0);
	ck_assert(us >= 0 && us < 1000000);
	return line + n;
}

/* ---- out of band ---- */

#define ENABLE_OOB "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}"

START_TEST(test_oob_requests)
{
	struct rig *r = rig_new();
	struct peer *p = &r->peers[0];
	struct yank y = {0};

	/* not before it was negotiated */
	ck_assert_str_eq(peer_ask(p, "{\"exec-oob\":\"query-yank\"}"),
			 GENERIC("QMP input member 'exec-oob' is unexpected"));
	ck_assert_str_eq(peer_ask(p, ENABLE_OOB), OK);
	ck_assert_str_eq(peer_ask(p, "{\"exec-oob\":\"query-yank\",\"id\":1}"),
			 "{\"return\": [], \"id\": 1}\r\n");
	ck_assert_str_eq(peer_ask(p, "{\"exec-oob\":\"query-status\"}"),
			 GENERIC("The command query-status does not support OOB"));
	ck_assert_str_eq(peer_ask(p, "{\"exec-oob\":\"nope\"}"),
			 NOT_FOUND("The command nope has not been found"));
	ck_assert_str_eq(peer_ask(p, "{\"exec-oob\":\"yank\",\"execute\":\"yank\"}"),
			 GENERIC("QMP input member 'execute' clashes with 'exec-oob'"));
	ck_assert_str_eq(peer_ask(p, "{\"exec-oob\":1}"),
			 GENERIC("QMP input member 'exec-oob' must be a string"));
	yank_add(&r->m.yanks, &y, YANK_CHARDEV, "c0", -1);
	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"query-yank\"}"),
			 "{\"return\": [{\"type\": \"chardev\", \"id\": \"c0\"}]}\r\n");
	ck_assert_str_eq(peer_ask(p, "{\"exec-oob\":\"yank\",\"arguments\":{\"instances\":"
				     "[{\"type\":\"chardev\",\"id\":\"c0\"}]}}"),
			 OK);
	ck_assert_str_eq(peer_ask(p, "{\"exec-oob\":\"yank\",\"arguments\":{\"instances\":"
				     "[{\"type\":\"migration\"}]}}"),
			 ERROR("DeviceNotFound", "Instance not found"));
	yank_del(&r->m.yanks, &y);
	rig_free(r);
}
END_TEST

/* The main loop does not run: what is out of band is answered, the rest waits in its order. */
START_TEST(test_oob_overtakes)
{
	static const char ask[] = "{\"execute\":\"query-name\",\"id\":1}{\"execute\":\"stop\","
				  "\"id\":2}{\"execute\":}{\"exec-oob\":\"query-yank\",\"id\":3}";
	struct rig *r = rig_new();
	struct peer *p = &r->peers[0];

	(void)peer_ask(p, ENABLE_OOB);
	buf_clear(&p->got);
	ck_assert_uint_eq(peer_send_once(p, (const uint8_t *)ask, strlen(ask)), strlen(ask));
	rig_run(r->m.control);
	ck_assert_str_eq(peer_got(p), "{\"return\": [], \"id\": 3}\r\n");
	buf_clear(&p->got);
	ck_assert_str_eq(peer_ask(p, ""), "{\"return\": {}, \"id\": 1}\r\n"
					  "{\"return\": {}, \"id\": 2}\r\n" GENERIC(
					      "JSON parse error, expecting value"));
	rig_free(r);
}
END_TEST

/* Eight requests wait; the ninth, and what is out of band behind it, is not read. */
START_TEST(test_oob_queue_is_full)
{
	static const char ask[] = "{\"execute\":\"query-name\"}";
	static const char oob[] = "{\"exec-oob\":\"query-yank\"}";
	struct rig *r = rig_new();
	struct peer *p = &r->peers[0];

	(void)peer_ask(p, ENABLE_OOB);
	buf_clear(&p->got);
	for (int i = 0; i < 8; i++)
		ck_assert_uint_gt(peer_send_once(p, (const uint8_t *)ask, strlen(ask)), 0);
	ck_assert_uint_eq(peer_send_once(p, (const uint8_t *)oob, strlen(oob)), 0);
	rig_run(r->m.control);
	ck_assert_str_eq(peer_got(p), "");
	ck_assert_str_eq(peer_ask(p, ""), OK OK OK OK OK OK OK OK);
	rig_free(r);
}
END_TEST

/* A script that does not wait for its replies: what it has asked is done. */
START_TEST(test_leaves_at_once)
{
	static const char ask[] = "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"cont\"}";
	struct rig *r = rig_new();
	struct peer *p = &r->peers[0], *q = rig_peer(r, 1);

	ck_assert_uint_eq(peer_send_once(p, (const uint8_t *)ask, strlen(ask)), strlen(ask));
	peer_close(p);
	peer_open(p); /* a new client has nothing of the old one's */
	ck_assert_str_eq(peer_got(p), GREETING);
	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"stop\"}"),
			 NOT_FOUND("Expecting capabilities negotiation with 'qmp_capabilities'"));
	ck_assert_ptr_nonnull(strstr(peer_ask(q, "{\"execute\":\"query-status\"}"), "running"));
	rig_free(r);
}
END_TEST

/* With requests under way when the program ends. */
START_TEST(test_ends_with_requests)
{
	static const char ask[] = "{\"execute\":\"query-name\"}{\"execute\":\"stop\"}";
	struct rig *r = rig_new();

	(void)rig_peer(r, 0);
	(void)peer_send_once(&r->peers[0], (const uint8_t *)ask, strlen(ask));
	(void)rig_peer(r, 1);
	(void)peer_send_once(&r->peers[1], (const uint8_t *)ask, strlen(ask));
	pthread_mutex_lock(&r->m.control_lock);
	peer_left(&r->peers[1]);
	pthread_mutex_unlock(&r->m.control_lock);
	rig_free(r);
}
END_TEST

START_TEST(test_events_precede_replies)
{
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0), *q = rig_peer(r, 1);

	q->writes = 0;
	ck_assert_str_eq(event_tail(peer_ask(p, "{\"execute\":\"cont\"}")),
			 "\"event\": \"RESUME\"}\r\n" OK);
	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"cont\"}"), OK);
	ck_assert_str_eq(event_tail(peer_ask(p, "{\"execute\":\"stop\"}")),
			 "\"event\": \"STOP\"}\r\n" OK);
	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"stop\"}"), OK);
	ck_assert_str_eq(event_tail(peer_ask(p, "{\"execute\":\"system_reset\"}")),
			 "\"event\": \"RESET\", \"data\": {\"guest\": false, \"reason\": "
			 "\"host-qmp-system-reset\"}}\r\n" OK);
	ck_assert_str_eq(event_tail(peer_ask(p, "{\"execute\":\"system_powerdown\"}")),
			 "\"event\": \"POWERDOWN\"}\r\n" OK);
	ck_assert_str_eq(event_tail(peer_ask(p, "{\"execute\":\"quit\"}")),
			 "\"event\": \"SHUTDOWN\", \"data\": {\"guest\": false, \"reason\": "
			 "\"host-qmp-quit\"}}\r\n" OK);
	/* the other monitor hears of it too, each event in a write of its own */
	ck_assert_uint_eq(q->writes, 5);
	ck_assert_ptr_nonnull(strstr(peer_got(q), "    \"event\": \"RESUME\"\n}\r\n"));
	rig_free(r);
}
END_TEST

START_TEST(test_events_only_after_negotiation)
{
	struct rig *r = rig_new();

	buf_clear(&r->peers[1].got);
	(void)peer_ask(rig_peer(r, 0), "{\"execute\":\"cont\"}");
	rig_turn(r);
	ck_assert_uint_eq(r->peers[1].got.len, 0);
	rig_free(r);
}
END_TEST

static void publish(struct rig *r, enum notify_kind kind, int64_t number, const char *text,
		    const char *text2)
{
	struct notification n = {.kind = kind, .number = number, .text = text, .text2 = text2};

	notify_publish(&r->m.notify, &n);
}

static const char *told(struct rig *r, enum notify_kind kind, int64_t number, const char *text,
			const char *text2)
{
	buf_clear(&r->peers[0].got);
	publish(r, kind, number, text, text2);
	rig_turn(r);
	return r->peers[0].got.len ? event_tail(peer_got(&r->peers[0])) : "";
}

START_TEST(test_event_data)
{
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0);

	/* gated by the capability */
	ck_assert_str_eq(told(r, NOTIFY_MIGRATION, 0, "active", NULL), "");
	ck_assert_str_eq(told(r, NOTIFY_MIGRATION_PASS, 1, NULL, NULL), "");
	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"migrate-set-capabilities\",\"arguments\":"
				     "{\"capabilities\":[{\"capability\":\"events\",\"state\":"
				     "true}]}}"),
			 OK);
	ck_assert_str_eq(
	    told(r, NOTIFY_MIGRATION, 0, "pre-switchover", NULL),
	    "\"event\": \"MIGRATION\", \"data\": {\"status\": \"pre-switchover\"}}\r\n");
	ck_assert_str_eq(told(r, NOTIFY_MIGRATION_PASS, 3, NULL, NULL),
			 "\"event\": \"MIGRATION_PASS\", \"data\": {\"pass\": 3}}\r\n");
	ck_assert_str_eq(
	    told(r, NOTIFY_GUEST_PANICKED, 0, "poweroff", NULL),
	    "\"event\": \"GUEST_PANICKED\", \"data\": {\"action\": \"poweroff\"}}\r\n");
	ck_assert_str_eq(told(r, NOTIFY_NIC_RX_FILTER_CHANGED, 0, "net0", NULL),
			 "\"event\": \"NIC_RX_FILTER_CHANGED\", \"data\": {\"name\": \"net0\", "
			 "\"path\": \"/machine/peripheral/net0/virtio-backend\"}}\r\n");
	ck_assert_str_eq(
	    told(r, NOTIFY_NETDEV_STREAM_CONNECTED, 0, "n0", "unix:/a:b"),
	    "\"event\": \"NETDEV_STREAM_CONNECTED\", \"data\": {\"netdev-id\": \"n0\", "
	    "\"addr\": {\"type\": \"unix\", \"path\": \"/a:b\"}}}\r\n");
	ck_assert_str_eq(
	    told(r, NOTIFY_NETDEV_STREAM_CONNECTED, 0, "n0", "tcp:[::1]:99"),
	    "\"event\": \"NETDEV_STREAM_CONNECTED\", \"data\": {\"netdev-id\": \"n0\", "
	    "\"addr\": {\"type\": \"inet\", \"host\": \"::1\", \"port\": \"99\"}}}\r\n");
	ck_assert_str_eq(told(r, NOTIFY_NETDEV_STREAM_DISCONNECTED, 0, "n0", NULL),
			 "\"event\": \"NETDEV_STREAM_DISCONNECTED\", \"data\": {\"netdev-id\": "
			 "\"n0\"}}\r\n");
	ck_assert_str_eq(told(r, NOTIFY_BLOCK_IO_ERROR, ENOSPC, "d0", "write"),
			 "\"event\": \"BLOCK_IO_ERROR\", \"data\": {\"device\": \"d0\", "
			 "\"operation\": \"write\", \"action\": \"report\", \"nospace\": true, "
			 "\"reason\": \"No space left on device\"}}\r\n");
	rig_free(r);
}
END_TEST

START_TEST(test_rtc_change_is_limited)
{
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0);

	ck_assert_str_eq(told(r, NOTIFY_RTC_CHANGE, 5, NULL, NULL),
			 "\"event\": \"RTC_CHANGE\", \"data\": {\"offset\": 5, \"qom-path\": "
			 "\"/machine/rtc\"}}\r\n");
	ck_assert_str_eq(told(r, NOTIFY_RTC_CHANGE, 6, NULL, NULL), "");
	ck_assert_str_eq(told(r, NOTIFY_RTC_CHANGE, 7, NULL, NULL), "");
	/* the latest comes when the second is over */
	while (!p->got.len)
		rig_turn(r);
	ck_assert_str_eq(event_tail(peer_got(p)),
			 "\"event\": \"RTC_CHANGE\", \"data\": {\"offset\": 7, \"qom-path\": "
			 "\"/machine/rtc\"}}\r\n");
	rig_free(r);
}
END_TEST

START_TEST(test_no_reboot_reset_is_shutdown)
{
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0);

	r->m.actions.no_reboot = true;
	ck_assert_str_eq(event_tail(peer_ask(p, "{\"execute\":\"system_reset\"}")),
			 "\"event\": \"SHUTDOWN\", \"data\": {\"guest\": false, \"reason\": "
			 "\"host-qmp-system-reset\"}}\r\n" OK);
	rig_free(r);
}
END_TEST

START_TEST(test_run_state_refusals)
{
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0);

	r->m.state = RS_FINISH_MIGRATE;
	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"cont\"}"),
			 GENERIC("Migration is not finalized yet"));
	r->m.state = RS_SHUTDOWN;
	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"cont\"}"),
			 GENERIC("Resetting the Virtual Machine is required"));
	r->m.state = RS_SUSPENDED;
	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"cont\"}"), OK);
	ck_assert_int_eq(r->m.state, RS_SUSPENDED);
	r->m.state = RS_INMIGRATE;
	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"cont\"}"), OK);
	ck_assert(r->m.autostart);
	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"stop\"}"), OK);
	ck_assert(!r->m.autostart);
	rig_free(r);
}
END_TEST

/* ---- descriptors ---- */

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static int send_fd(struct peer *p)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	peer_send_fd(p, fd);
	return fd;
}

#define GETFD(name)   "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"" name "\"}}"
#define CLOSEFD(name) "{\"execute\":\"closefd\",\"arguments\":{\"fdname\":\"" name "\"}}"

START_TEST(test_descriptors)
{
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0);
	int a, b;

	ck_assert_str_eq(peer_ask(p, GETFD("a")),
			 GENERIC("No file descriptor supplied via SCM_RIGHTS"));
	/* of two the newest counts */
	a = send_fd(p);
	b = send_fd(p);
	ck_assert(!is_open(a));
	ck_assert_str_eq(peer_ask(p, GETFD("a")), OK);
	ck_assert_str_eq(peer_ask(p, GETFD("a")),
			 GENERIC("No file descriptor supplied via SCM_RIGHTS"));
	ck_assert(is_open(b));
	/* an older one of the same name goes */
	a = send_fd(p);
	ck_assert_str_eq(peer_ask(p, GETFD("a")), OK);
	ck_assert(!is_open(b));
	/* a bad name uses it up */
	b = send_fd(p);
	ck_assert_str_eq(peer_ask(p, GETFD("1")),
			 GENERIC("Parameter 'fdname' expects a name not starting with a digit"));
	ck_assert(!is_open(b));
	/* names are the monitor's own, and outlive the connection */
	ck_assert_str_eq(peer_ask(rig_peer(r, 1), CLOSEFD("a")),
			 "{\n    \"error\": {\n        \"class\": \"GenericError\",\n        "
			 "\"desc\": \"File descriptor named 'a' not found\"\n    }\n}\r\n");
	peer_close(p);
	peer_open(p);
	(void)rig_peer(r, 0);
	ck_assert_str_eq(peer_ask(p, CLOSEFD("a")), OK);
	ck_assert(!is_open(a));
	ck_assert_str_eq(peer_ask(p, CLOSEFD("a")), GENERIC("File descriptor named 'a' not found"));
	/* one that came with nothing to use it goes with the peer */
	a = send_fd(p);
	peer_close(p);
	ck_assert(!is_open(a));
	rig_free(r);
}
END_TEST

START_TEST(test_too_many_descriptors)
{
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0);
	char ask[100];
	int i;

	for (i = 0; i < 256; i++) {
		(void)send_fd(p);
		(void)snprintf(ask, sizeof(ask),
			       "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"n%d\"}}", i);
		ck_assert_str_eq(peer_ask(p, ask), OK);
	}
	(void)send_fd(p);
	ck_assert_str_eq(peer_ask(p, GETFD("more")),
			 GENERIC("there are 256 named file descriptors already; close some first"));
	(void)send_fd(p);
	ck_assert_str_eq(peer_ask(p, GETFD("n7")), OK); /* replacing is fine */
	rig_free(r);
}
END_TEST

/* ---- peers that misbehave ---- */

START_TEST(test_slow_reader_stops_itself)
{
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0);
	static const char ask[] = "{\"execute\":\"query-qmp-schema\"}";
	size_t asked = 0, lines = 0;

	p->room = 0;
	for (int i = 0; i < 1000; i++) {
		if (peer_send_some(p, ask, strlen(ask)) < strlen(ask))
			break;
		asked++;
	}
	ck_assert_uint_lt(asked, 1000);
	ck_assert_uint_eq(p->c.client->can_read(p->c.client_opaque), 0);
	/* once it reads, all is answered */
	p->room = SIZE_MAX;
	peer_reads(p);
	ck_assert_uint_gt(p->c.client->can_read(p->c.client_opaque), 0);
	for (size_t i = 0; i < p->got.len; i++)
		lines += p->got.data[i] == '\n';
	ck_assert_uint_eq(lines, asked);
	rig_free(r);
}
END_TEST

START_TEST(test_deaf_peer_is_given_up)
{
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0), *q = rig_peer(r, 1);

	p->room = 0;
	for (int i = 0; i < 400000 && !p->dropped; i++) {
		publish(r, NOTIFY_STOP, 0, NULL, NULL);
		if (i % 1000 == 0) {
			rig_turn(r);
			buf_clear(&q->got);
		}
	}
	ck_assert(p->dropped);
	/* the other one lives, and so does the next peer of this */
	ck_assert_str_eq(peer_ask(q, "{\"execute\":\"stop\"}"), "{\n    \"return\": {}\n}\r\n");
	p->room = SIZE_MAX;
	peer_open(p);
	ck_assert_str_eq(peer_got(p), GREETING);
	rig_free(r);
}
END_TEST

START_TEST(test_partial_writes)
{
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0);

	buf_clear(&p->got);
	p->room = 5;
	ck_assert_uint_eq(peer_send_some(p, "{\"execute\":\"stop\"}", 18), 18);
	ck_assert_uint_eq(p->got.len, 5);
	while (p->got.len < strlen(OK)) {
		p->room = 1;
		peer_reads(p);
	}
	ck_assert_str_eq(peer_got(p), OK);
	rig_free(r);
}
END_TEST

START_TEST(test_half_a_request_is_forgotten)
{
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0);

	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"st"), "");
	peer_close(p);
	peer_open(p);
	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"qmp_capabilities\"}"), OK);
	rig_free(r);
}
END_TEST

START_TEST(test_free_with_posted_turn)
{
	struct rig *r = rig_new();

	(void)rig_peer(r, 0);
	r->peers[0].room = 0;
	publish(r, NOTIFY_STOP, 0, NULL, NULL);
	rig_free(r); /* the posted call finds its server gone */
}
END_TEST

START_TEST(test_unknown_chardev)
{
	struct rig *r = rig_new();
	struct err err = {0};
	struct cfg_monitor mon = {(char *)(uintptr_t) "zz", false};

	r->cfg.monitors = &mon;
	r->cfg.n_monitors = 1;
	ck_assert_ptr_null(qmp_server_new(&r->m, &r->be, r->mg, &err));
	ck_assert_str_eq(err.msg, "chardev \"zz\" not found");
	rig_free(r);
}
END_TEST

START_TEST(test_no_job)
{
	static const char *const verbs[] = {"cancel",   "pause",    "resume",
					    "complete", "finalize", "dismiss"};
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0);
	char text[128];

	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"query-jobs\"}"), "{\"return\": []}\r\n");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		(void)snprintf(text, sizeof(text),
			       "{\"execute\":\"job-%s\",\"arguments\":{\"id\":\"j0\"}}", verbs[i]);
		ck_assert_str_eq(peer_ask(p, text), GENERIC("Job not found"));
	}
	rig_free(r);
}
END_TEST

static int idle_run(struct job *j, struct err *err)
{
	(void)j;
	(void)err;
	return 0;
}

/* One that was made and has not begun, which needs no thread. */
START_TEST(test_a_job)
{
	static const struct job_ops ops = {.type = JOB_SNAPSHOT_SAVE, .run = idle_run};
	const struct job_config c = {.id = "j0", .ops = &ops, .manual_dismiss = true};
	struct rig *r = rig_new();
	struct peer *p = rig_peer(r, 0);

	ck_assert_ptr_nonnull(job_new(&r->m, &c, NULL));
	rig_turn(r);
	ck_assert_ptr_nonnull(strstr(peer_got(p), "\"event\": \"JOB_STATUS_CHANGE\", \"data\": "
						  "{\"id\": \"j0\", \"status\": \"created\"}"));
	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"query-jobs\"}"),
			 "{\"return\": [{\"id\": \"j0\", \"type\": \"snapshot-save\", \"status\": "
			 "\"created\", \"current-progress\": 0, \"total-progress\": 0}]}\r\n");
	ck_assert_str_eq(
	    peer_ask(p, "{\"execute\":\"job-dismiss\",\"arguments\":{\"id\":\"j0\"}}"),
	    GENERIC("Job 'j0' in state 'created' cannot accept command verb 'dismiss'"));
	(void)peer_ask(p, "{\"execute\":\"job-cancel\",\"arguments\":{\"id\":\"j0\"}}");
	ck_assert_ptr_nonnull(strstr(peer_got(p), "\"status\": \"concluded\""));
	ck_assert_ptr_nonnull(strstr(peer_ask(p, "{\"execute\":\"query-jobs\"}"),
				     "\"error\": \"Operation canceled\""));
	(void)peer_ask(p, "{\"execute\":\"job-dismiss\",\"arguments\":{\"id\":\"j0\"}}");
	ck_assert_ptr_nonnull(strstr(peer_got(p), "\"status\": \"null\""));
	ck_assert_str_eq(peer_ask(p, "{\"execute\":\"query-jobs\"}"), "{\"return\": []}\r\n");
	rig_free(r);
}
END_TEST

CHECK_MAIN("qmp-session", test_greeting_alone, test_negotiation, test_requests,
	   test_many_in_one_read, test_pretty, test_oob_requests, test_oob_overtakes,
	   test_oob_queue_is_full, test_leaves_at_once, test_ends_with_requests,
	   test_events_precede_replies, test_events_only_after_negotiation, test_event_data,
	   test_rtc_change_is_limited, test_no_reboot_reset_is_shutdown, test_run_state_refusals,
	   test_descriptors, test_too_many_descriptors, test_slow_reader_stops_itself,
	   test_deaf_peer_is_given_up, test_partial_writes, test_half_a_request_is_forgotten,
	   test_free_with_posted_turn, test_unknown_chardev, test_no_job, test_a_job)
