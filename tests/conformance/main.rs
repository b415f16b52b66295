//! What MQTT demands of a server, seen from outside: raw bytes to the built binary, one file per chapter.
//!
//! Each test names the statements it proves in `// covers:` lines above it; `tests/conformance_matrix.rs` turns them into
//! `docs/CONFORMANCE.md` and fails when a statement is left over. The encoder ([`packets`]) and the decoder ([`decode`])
//! are written from the specification and share nothing with the broker. [`world`] runs every test with 1, 2 and 5
//! shards, with clients on one shard and on different ones, and over a transport of single bytes.
//!
//! `DUNLIN_TEST_LAYER=inverting` (or `websocket`, or `tls`) puts a layer between all sockets and MQTT ([`transport`]).
//! `DUNLIN_TEST_BROKER=host:port` runs the suite against another broker, `DUNLIN_TEST_SETTING=5-shards` in some settings
//! only.

#![allow(
    clippy::duration_suboptimal_units,  // the millisecond is the unit of these tests
    clippy::unchecked_time_subtraction, // a test that subtracts too much fails, as it should
    clippy::needless_pass_by_value,     // `client.deliver(Publish::new(..))` reads better than with a reference
    clippy::struct_field_names,         // fields are named as in the specification
    clippy::needless_for_each,
    clippy::semicolon_if_nothing_returned,
)]

mod broker;
#[path = "../support/certificate.rs"]
mod certificate;
mod client;
mod decode;
#[path = "../support/http.rs"]
mod http;
#[path = "../support/layer.rs"]
mod layer;
mod packets;
mod placement;
mod transport;
#[path = "../support/websocket.rs"]
mod websocket;
mod world;

mod access;
mod authentication;
mod back_ends;
mod chapter_1_data;
mod chapter_2_format;
mod chapter_3_12_session_end;
mod chapter_3_1_connect;
mod chapter_3_1_limits;
mod chapter_3_1_session;
mod chapter_3_1_will;
mod chapter_3_2_connack;
mod chapter_3_3_publish;
mod chapter_3_3_retain;
mod chapter_3_4_acks;
mod chapter_3_8_subscribe;
mod chapter_4_12_auth;
mod chapter_4_delivery;
mod chapter_4_topics;
mod full_queue;
mod fuzz;
mod hostile;
mod hostile_cost;
mod mqtt_3_1;
mod policies;
mod tokens;
