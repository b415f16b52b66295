//! All metrics: name, kind, unit, meaning, and where their values come from.

use super::connector_families::{BRIDGES, SINKS, SOURCES};
use super::family::{Family, FamilyUnit, counter, durations, gauge};
use super::scrape::{Samples, Scrape};
use crate::telemetry::{CloseReason, CountsByListener, DropReason, PauseReason, RequestRefusal};

use FamilyUnit::{Bytes, None as NoUnit, Seconds};

/// All but `dunlin_build`, which has a kind of its own.
pub(super) fn all() -> impl Iterator<Item = &'static Family> {
    const PARTS: [&[Family]; 6] = [MESSAGES, SINKS, CLIENTS, BRIDGES, SOURCES, BROKER];
    PARTS.into_iter().flatten()
}

const MESSAGES: &[Family] = &[
    counter("dunlin_packets_received", NoUnit, "MQTT packets from clients", |_, sum, to| {
        to.one(sum.counters.packets_received);
    }),
    counter("dunlin_packets_sent", NoUnit, "MQTT packets to clients", |_, sum, to| to.one(sum.counters.packets_sent)),
    counter("dunlin_messages_received", NoUnit, "PUBLISH packets from clients, by QoS", |_, sum, to| {
        by_qos(to, sum.counters.received_by_qos());
    }),
    counter("dunlin_messages_sent", NoUnit, "PUBLISH packets to clients, by QoS", |_, sum, to| {
        by_qos(to, sum.counters.sent_by_qos());
    }),
    counter("dunlin_messages_received_payload", Bytes, "Payload of PUBLISH packets from clients", |_, sum, to| {
        to.one(sum.counters.publish_bytes_received);
    }),
    counter("dunlin_messages_sent_payload", Bytes, "Payload of PUBLISH packets to clients", |_, sum, to| {
        to.one(sum.counters.publish_bytes_sent);
    }),
    counter("dunlin_messages_dropped", NoUnit, "Messages dropped, by reason: docs/SYS.md has them", |_, sum, to| {
        let drops = &sum.counters.drops;
        for reason in DropReason::ALL {
            to.labelled("reason", &reason.label(), drops[reason as usize]);
        }
    }),
    counter("dunlin_shard_messages_sent", NoUnit, "Messages from shard to shard", |_, sum, to| {
        to.one(sum.counters.mesh_sent);
    }),
    counter(
        "dunlin_spans_exported",
        NoUnit,
        "Spans of sampled messages that a collector has taken",
        |scrape, _, to| {
            to.one(scrape.spans.taken);
        },
    ),
    counter(
        "dunlin_spans_dropped",
        NoUnit,
        "Spans, or sampled messages, that no collector knows of, by reason",
        |scrape, _, to| {
            to.labelled("reason", &"no_room", scrape.spans.no_room);
            to.labelled("reason", &"not_taken", scrape.spans.not_taken);
        },
    ),
    durations(
        "dunlin_ack",
        "From a client's PUBLISH with QoS 1 or 2 to the broker's PUBACK or PUBREC, the log included; one message of 64",
        |_, sum, to| to.durations(&sum.counters.timings.own_acks),
    ),
    durations(
        "dunlin_client_ack",
        "From PUBLISH with QoS 1 or 2 to the client's PUBACK or PUBREC; one message of 64",
        |_, sum, to| to.durations(&sum.counters.timings.client_acks),
    ),
    durations(
        "dunlin_queue_wait",
        "How long messages with QoS 1 or 2 that had to wait in a queue waited, to a tenth of a second; one message of 64",
        |_, sum, to| to.durations(&sum.counters.timings.queued),
    ),
    gauge("dunlin_queued_messages", NoUnit, "Messages queued for or in flight to clients", |_, sum, to| {
        to.one(sum.gauges.stored_messages);
    }),
    gauge("dunlin_queued_on_disk_messages", NoUnit, "Those of them that are on disk alone", |_, sum, to| {
        to.one(sum.gauges.stored_on_disk);
    }),
    gauge("dunlin_queued", Bytes, "Topics, properties and payloads of messages that are queued", |_, sum, to| {
        to.one(sum.gauges.stored_bytes);
    }),
    gauge("dunlin_queued_memory", Bytes, "Memory that all queues take together", |_, sum, to| {
        to.one(sum.gauges.queued_memory_bytes);
    }),
    gauge("dunlin_queued_memory_max", Bytes, "Memory that they may take: --max-queued-memory", |scrape, _, to| {
        to.one(scrape.queued_memory_max_bytes);
    }),
    gauge("dunlin_retained_messages", NoUnit, "Retained messages, those of the broker included", |_, sum, to| {
        to.one(sum.gauges.retained_messages);
    }),
    gauge("dunlin_subscriptions", NoUnit, "Subscriptions, shared ones included", |_, sum, to| {
        to.one(sum.gauges.subscriptions);
    }),
    gauge("dunlin_shared_subscriptions", NoUnit, "Members of shared subscriptions", |_, sum, to| {
        to.one(sum.gauges.shared_subscriptions);
    }),
];

const CLIENTS: &[Family] = &[
    gauge(
        "dunlin_sessions",
        NoUnit,
        "Sessions of each shard, by whether their client is connected",
        |scrape, _, to| {
            for (shard, figures) in scrape.shards.iter().enumerate() {
                let gauges = &figures.report.gauges;
                for (is_connected, value) in
                    [("true", gauges.clients_connected), ("false", gauges.clients_disconnected)]
                {
                    to.with_labels(vec![("shard", shard.to_string()), ("connected", is_connected.to_owned())], value);
                }
            }
        },
    ),
    gauge("dunlin_clients_connected", NoUnit, "Clients that are connected, by MQTT version", |_, sum, to| {
        by_version(to, &sum.gauges.connected_by_version);
    }),
    counter("dunlin_connects_accepted", NoUnit, "CONNECTs answered with success, by MQTT version", |_, sum, to| {
        by_version(to, &sum.counters.connections_by_version);
    }),
    counter(
        "dunlin_connections_refused",
        NoUnit,
        "Connections that ended before CONNACK, by reason: docs/SYS.md has them",
        |_, sum, to| {
            for reason in CloseReason::BEFORE_CONNACK {
                to.labelled("reason", &reason.label(), sum.refused(reason));
            }
        },
    ),
    counter(
        "dunlin_connections_closed",
        NoUnit,
        "Connections of clients that ended, by reason: docs/SYS.md has them",
        |_, sum, to| {
            for reason in CloseReason::AFTER_CONNACK {
                to.labelled("reason", &reason.label(), sum.closed(reason));
            }
        },
    ),
    counter(
        "dunlin_publishes_refused",
        NoUnit,
        "Messages and wills that were not taken from clients, by cause",
        |_, sum, to| {
            for cause in RequestRefusal::OF_PUBLISH {
                to.labelled("reason", &cause.label(), sum.counters.publishes_refused[cause as usize]);
            }
        },
    ),
    counter(
        "dunlin_subscriptions_refused",
        NoUnit,
        "Filters of SUBSCRIBEs that were not granted, by cause",
        |_, sum, to| {
            for cause in RequestRefusal::OF_SUBSCRIBE {
                to.labelled("reason", &cause.label(), sum.counters.filters_refused[cause as usize]);
            }
        },
    ),
    counter(
        "dunlin_clients_paused",
        NoUnit,
        "Pauses of clients, by the rate of their profile that they were over",
        |_, sum, to| {
            let pauses = &sum.counters.pauses;
            for reason in PauseReason::ALL {
                to.labelled("reason", &reason.label(), pauses[reason as usize]);
            }
        },
    ),
    counter(
        "dunlin_acks_held_back",
        NoUnit,
        "PUBACKs and PUBRECs that waited because a subscriber's queue was nearly full: --full-queue hold-back",
        |_, sum, to| to.one(sum.counters.acks_held_back),
    ),
    counter(
        "dunlin_publishers_held_back",
        NoUnit,
        "Times that a publisher was not read because many of its messages waited so",
        |_, sum, to| to.one(sum.counters.publishers_held_back),
    ),
    counter("dunlin_sessions_expired", NoUnit, "Sessions that ended because nobody came back", |_, sum, to| {
        to.one(sum.counters.sessions_expired);
    }),
    // --- sockets -------------------------------------------------------------------------------------------------------
    counter("dunlin_sockets_accepted", NoUnit, "Connections accepted, by listener", |scrape, sum, to| {
        by_listener(to, scrape, &sum.transport.sockets_by_listener);
    }),
    counter(
        "dunlin_listener_connections_refused",
        NoUnit,
        "Connections that ended before CONNACK, by listener",
        |scrape, sum, to| by_listener(to, scrape, &sum.transport.refused_by_listener),
    ),
    counter(
        "dunlin_listener_connections_closed",
        NoUnit,
        "Connections of clients that ended, by listener",
        |scrape, sum, to| by_listener(to, scrape, &sum.transport.closed_by_listener),
    ),
    counter(
        "dunlin_listener_connections_ended",
        NoUnit,
        "Connections that ended before CONNACK or after it, by listener and reason: pairs that have happened",
        |scrape, sum, to| {
            for listener in &scrape.listeners {
                for (reason, count) in sum.transport.ends_by_listener.of(listener.index) {
                    let labels = vec![("listener", listener.name.clone()), ("reason", reason.label().to_owned())];
                    to.with_labels(labels, count);
                }
            }
        },
    ),
    counter(
        "dunlin_listener_messages_dropped",
        NoUnit,
        "Messages that clients lost while they were connected, by listener",
        |scrape, sum, to| by_listener(to, scrape, &sum.transport.lost_by_listener),
    ),
    gauge("dunlin_listener_connections", NoUnit, "Connections that are open, by listener", |scrape, _, to| {
        for listener in &scrape.listeners {
            to.labelled("listener", &listener.name, listener.connections.into());
        }
    }),
    gauge("dunlin_listener_open", NoUnit, "Whether a listener accepts: 1, or 0", |scrape, _, to| {
        for listener in &scrape.listeners {
            to.labelled("listener", &listener.name, listener.is_open.into());
        }
    }),
    counter("dunlin_network_received", Bytes, "Bytes taken from sockets", |_, sum, to| {
        to.one(sum.transport.bytes_received);
    }),
    counter("dunlin_network_sent", Bytes, "Bytes given to sockets", |_, sum, to| to.one(sum.transport.bytes_sent)),
    gauge(
        "dunlin_certificate_end_timestamp",
        Seconds,
        "When the first certificate of a listener expires, since 1970; absent without TLS",
        |scrape, _, to| to.one_if(scrape.certificates_end_s.and_then(|end_s| u64::try_from(end_s).ok())),
    ),
    gauge(
        "dunlin_revocation_list_end_timestamp",
        Seconds,
        "When the first revocation list of a listener expires, since 1970; absent without one",
        |scrape, _, to| to.one_if(scrape.lists_end_s.and_then(|end_s| u64::try_from(end_s).ok())),
    ),
];

const BROKER: &[Family] = &[
    // --- shards --------------------------------------------------------------------------------------------------------
    gauge(
        "dunlin_shard_responding",
        NoUnit,
        "Whether a shard answered this scrape within a second: 1, or 0, and its numbers are its last ones",
        |scrape, _, to| {
            for (shard, figures) in scrape.shards.iter().enumerate() {
                to.labelled("shard", &shard, figures.is_fresh.into());
            }
        },
    ),
    durations(
        "dunlin_turn",
        "Turns of each shard, from the look at the clock to the entry into the kernel",
        |scrape, _, to| {
            for (shard, figures) in scrape.shards.iter().enumerate() {
                to.durations_of(shard, &figures.report.run.turns);
            }
        },
    ),
    counter("dunlin_ring_enters", NoUnit, "Entries into the kernel (io_uring_enter)", |_, sum, to| {
        to.one(sum.run.ring_enters);
    }),
    counter("dunlin_ring_completions", NoUnit, "Completions taken from the rings", |_, sum, to| {
        to.one(sum.run.ring_completions);
    }),
    counter("dunlin_ring_submissions_full", NoUnit, "Submission queues that were full within a turn", |_, sum, to| {
        to.one(sum.run.ring_queue_full);
    }),
    counter("dunlin_ring_receives_without_buffer", NoUnit, "Receives that found no buffer free", |_, sum, to| {
        to.one(sum.run.ring_out_of_buffers);
    }),
    counter("dunlin_ring_short_sends", NoUnit, "Sends that a socket did not take whole", |_, sum, to| {
        to.one(sum.run.ring_short_sends);
    }),
    counter(
        "dunlin_ring_accept_failures",
        NoUnit,
        "Connections lost on their way in, or refused for want of a descriptor or of memory",
        |_, sum, to| to.one(sum.run.ring_accept_failures),
    ),
    counter("dunlin_ring_datagrams_not_sent", NoUnit, "Datagrams that the system did not take", |_, sum, to| {
        to.one(sum.run.ring_datagrams_not_sent);
    }),
    counter(
        "dunlin_sn_datagrams_dropped",
        NoUnit,
        "Datagrams of MQTT-SN that led to nothing, and messages that no datagram could be made of",
        |_, sum, to| to.one(sum.transport.datagrams_dropped),
    ),
    // --- disk ----------------------------------------------------------------------------------------------------------
    durations("dunlin_log_write", "Writes into the log, until they are on stable storage", |_, sum, to| {
        to.durations(&sum.run.log_writes);
    }),
    counter("dunlin_log_written", Bytes, "Bytes written into the log", |_, sum, to| to.one(sum.run.log_bytes)),
    gauge("dunlin_log_shards_full", NoUnit, "Shards whose log has no room for what is to be kept", |_, sum, to| {
        to.one(sum.gauges.logs_short);
    }),
    gauge(
        "dunlin_data_filesystem_available",
        Bytes,
        "What the file system of the data directory has left; absent with --storage memory",
        |scrape, _, to| to.one_if(scrape.disk.available_bytes),
    ),
    gauge("dunlin_data_filesystem_size", Bytes, "What it has in all", |scrape, _, to| {
        to.one_if(scrape.disk.size_bytes);
    }),
    // --- the process, with the names that Prometheus' own clients use -----------------------------------------------------
    gauge("dunlin_draining", NoUnit, "Whether the broker is being emptied: 1, or 0", |scrape, _, to| {
        to.one(scrape.is_draining.into());
    }),
    gauge("dunlin_bans", NoUnit, "Bans of operators that hold", |scrape, _, to| to.one(scrape.bans)),
    counter("dunlin_admin_logins_refused", NoUnit, "Logins at the admin server that were refused", |scrape, _, to| {
        to.one(scrape.logins_refused);
    }),
    gauge("dunlin_uptime", Seconds, "Time since the admin server started", |scrape, _, to| {
        to.real_if(Some(scrape.uptime.as_secs_f64()));
    }),
    counter("process_cpu", Seconds, "User and system time of the process", |scrape, _, to| {
        to.real_if(scrape.process.cpu_s);
    }),
    gauge("process_start_time", Seconds, "Start of the process since 1970", |scrape, _, to| {
        to.real_if(scrape.process.started_s);
    }),
    gauge("process_resident_memory", Bytes, "Memory of the process in RAM", |scrape, _, to| {
        to.one_if(scrape.process.resident_bytes);
    }),
    gauge("process_virtual_memory", Bytes, "Address space of the process", |scrape, _, to| {
        to.one_if(scrape.process.virtual_bytes);
    }),
    gauge(
        "dunlin_memory_max",
        Bytes,
        "RAM that the process may take: the least limit of its control groups, or what the machine has",
        |scrape, _, to| to.one_if(scrape.process.memory_max_bytes),
    ),
    counter(
        "process_major_page_faults",
        NoUnit,
        "Pages that the process had to wait for the disk for",
        |scrape, _, to| {
            to.one_if(scrape.process.major_faults);
        },
    ),
    gauge("process_open_fds", NoUnit, "Open descriptors", |scrape, _, to| to.one_if(scrape.process.open_files)),
    gauge("process_max_fds", NoUnit, "Descriptors that may be open", |scrape, _, to| {
        to.one_if(scrape.process.open_files_max);
    }),
    gauge("process_threads", NoUnit, "Threads of the process", |scrape, _, to| to.one_if(scrape.process.threads)),
];

fn by_qos(to: &mut Samples<'_>, counts: [u64; 3]) {
    counts.iter().enumerate().for_each(|(qos, count)| to.labelled("qos", &qos, *count));
}

fn by_listener(to: &mut Samples<'_>, scrape: &Scrape, counts: &CountsByListener) {
    for listener in &scrape.listeners {
        to.labelled("listener", &listener.name, counts.of(listener.index));
    }
}

fn by_version(to: &mut Samples<'_>, counts: &[u64; 3]) {
    ["3.1", "3.1.1", "5.0"]
        .into_iter()
        .zip(counts)
        .for_each(|(version, count)| to.labelled("version", &version, *count));
}
