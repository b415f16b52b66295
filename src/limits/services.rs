//! Bounds of what runs beside the shards for others: spans of sampled messages, sinks, bridges and sources.

// --- sampled messages ------------------------------------------------------------------------------------------

/// Messages of one shard that are sampled in a second: what is asked for by clients themselves is bounded as well. Each costs some microseconds.
pub const SAMPLED_PER_S_MAX: u32 = 500;
/// Deliveries of a sampled message that have a span, on each shard: a message to a million clients is no million spans.
pub const SAMPLED_DELIVERIES_MAX: u8 = 16;
/// Publishers of one shard that wait for the acknowledgement of a sampled message; deliveries of such messages that are in flight; messages
/// that are queued. A look at all of them, once a second, takes some 20 us.
pub const SPANS_UNDER_WAY_MAX: usize = 2_048;
/// What the last of those may take together on one shard.
pub const SAMPLED_KEPT_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Longest time that a span may take: a client that does not acknowledge a message is told of then.
pub const SPAN_MAX_S: u32 = 60;
/// Spans that wait to be sent to a collector: some two seconds of the most that two shards make, 4 MiB.
pub const SPANS_QUEUED_MAX: usize = 16 * 1024;
/// Spans of one request to a collector, half a megabyte at most where topics are short.
pub const SPANS_PER_EXPORT: usize = 512;
/// How long spans may wait for others to go with them.
pub const SPANS_EXPORT_MS: u64 = 1_000;
/// How often a request that a collector has not taken is sent, with pauses of 1, 2 and 4 seconds between.
pub const SPANS_EXPORT_TRIES: u32 = 4;
/// Default of `--otlp-timeout`: what OpenTelemetry's own exporters have.
pub const OTLP_TIMEOUT_DEFAULT_S: u32 = 10;
/// Longest `--otlp-timeout`.
pub const OTLP_TIMEOUT_MAX_S: u32 = 600;
/// What is read of a collector's answer.
pub const OTLP_ANSWER_MAX_BYTES: u64 = 64 * 1024;
/// Longest time that a stop waits for the last spans to be taken.
pub const OTLP_FLUSH_MAX_MS: u64 = 2_000;

// --- sinks -----------------------------------------------------------------------------------------------------

/// Longest condition or template of a sink.
pub const TEMPLATE_SOURCE_MAX_BYTES: usize = 64 * 1024;
/// Instructions of one evaluation of a condition or template: some milliseconds.
pub const TEMPLATE_FUEL: u64 = 100_000;
/// Macros and blocks in each other in one evaluation.
pub const TEMPLATE_RECURSION_MAX: usize = 64;
/// Bytes that one evaluation writes at most.
pub const TEMPLATE_OUTPUT_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Longest payload that conditions and templates see into: JSON takes some twenty times as much once it is read.
pub const TEMPLATE_INPUT_MAX_BYTES: usize = 1024 * 1024;
/// Longest name of a sink, bridge or source.
pub const SERVICE_NAME_MAX_BYTES: usize = 64;
/// Most sinks of one configuration.
pub const SINKS_MAX: usize = 256;
/// Most topic filters of a sink.
pub const SINK_TOPICS_MAX: usize = 1_000;
/// Most workers of a sink.
pub const SINK_WORKERS_MAX: usize = 64;
/// Most messages of QoS 1 that a sink holds at a time.
pub const SINK_INFLIGHT_MAX: u16 = 20_000;
/// Bytes that a sink holds of messages whose target has not taken them: beyond it the socket is not read. Its session holds the same messages
/// until they are acknowledged, so a target that is down costs twice as much.
pub const SINK_HELD_MAX_BYTES: usize = 32 * 1024 * 1024;
/// Messages of QoS 0 that a sink holds: beyond it they are dropped.
pub const SINK_HELD_QOS0_MAX: usize = 10_000;
/// Messages of a batch where `batch_messages` is not set: some hundred KB of telemetry in one request.
pub const SINK_BATCH_MESSAGES_DEFAULT: usize = 500;
/// Most messages of one batch.
pub const SINK_BATCH_MESSAGES_MAX: usize = 10_000;
/// ... where `batch_bytes` is not set: what servers take in one request without being asked.
pub const SINK_BATCH_DEFAULT_BYTES: usize = 1024 * 1024;
/// Most bytes of one batch.
pub const SINK_BATCH_MAX_BYTES: usize = 64 * 1024 * 1024;
/// ... where `batch_time` is not set: five requests a second at a low rate.
pub const SINK_BATCH_TIME_DEFAULT_MS: u64 = 200;
/// Longest `batch_time`: an hour.
pub const SINK_BATCH_TIME_MAX_MS: u64 = 3_600_000;
/// Default of `session_expiry` of sinks: a week.
pub const SINK_SESSION_EXPIRY_DEFAULT_S: u32 = 604_800;
/// First wait before a target is tried again.
pub const SINK_RETRY_MIN_MS: u64 = 200;
/// Longest wait before a target is tried again, where it asks for none itself.
pub const SINK_RETRY_MAX_MS: u64 = 30_000;
/// Longest wait that a target may ask for.
pub const SINK_RETRY_AFTER_MAX_S: u64 = 600;
/// Default of `timeout` of targets.
pub const SINK_TIMEOUT_DEFAULT_MS: u64 = 30_000;
/// Longest `timeout` of targets.
pub const SINK_TIMEOUT_MAX_MS: u64 = 600_000;
/// Bytes of an answer that a sink reads.
pub const SINK_ANSWER_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Default of `rotate_bytes`.
pub const SINK_FILE_DEFAULT_BYTES: u64 = 100_000_000;
/// Least `rotate_bytes`.
pub const SINK_FILE_MIN_BYTES: u64 = 1_024;
/// Most `rotate_bytes`.
pub const SINK_FILE_MAX_BYTES: u64 = 1_000_000_000_000;
/// Default of `rotate_time`: a day.
pub const SINK_FILE_TIME_DEFAULT_S: u64 = 86_400;
/// Longest `rotate_time`: a year.
pub const SINK_FILE_TIME_MAX_S: u64 = 31_536_000;
/// Default of `keep_files`.
pub const SINK_FILES_DEFAULT: usize = 100;
/// Most `keep_files`.
pub const SINK_FILES_MAX: usize = 100_000;
/// Default of `max_hops` of a republishing sink.
pub const SINK_HOPS_DEFAULT: u8 = 8;
/// Longest reason of a dead letter, as its user property has it.
pub const DEAD_LETTER_REASON_MAX_BYTES: usize = 1_000;
/// ... where a packet has no room for as much.
pub const DEAD_LETTER_SHORT_REASON_MAX_BYTES: usize = 100;
/// Dead letters of one sink that are published and not acknowledged: an answer takes a turn of a shard, and each of them is held for it.
pub const DEAD_LETTERS_SENT_MAX: usize = 100;
/// How long a sink waits before it publishes a dead letter again that the broker has no room for.
pub const DEAD_LETTER_AGAIN_MS: u64 = 1_000;
/// Bytes of a request that publishes a batch of messages.
pub const ADMIN_BATCH_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Messages of one such request.
pub const ADMIN_BATCH_MESSAGES_MAX: usize = 1_000;
/// Columns of a table or a file that a sink writes to: a row evaluates a formula for each.
pub const TARGET_COLUMNS_MAX: usize = 256;
/// Messages of a source that wait for their acknowledgement where nothing is said.
pub const SOURCE_INFLIGHT_DEFAULT: u16 = 256;
/// ... and at most: each has an identifier of its own, and is held until then.
pub const SOURCE_INFLIGHT_MAX: u16 = 20_000;
/// Topics or subjects of one source.
pub const SOURCE_TOPICS_MAX: usize = 1_000;
/// Sources of one configuration.
pub const SOURCES_MAX: usize = 256;
/// Longest wait before a source tries again.
pub const SOURCE_RETRY_MAX_MS: u64 = 30_000;
