//! The built binary against clients that others wrote, each behaviour with 1, 2 and 5 shards.
//!
//! A test is named `client::behaviour::with_N_shards`. `scenarios.rs` and `scenarios_v5.rs` say what is expected, once for
//! all clients; `words.rs` is the language between a scenario and a driver; `py/`, `js/` and `rumqttc_driver_v*.rs` are the drivers;
//! `mosquitto.rs` runs Mosquitto's commands as a user would type them; `bridge.rs` connects a Mosquitto broker, `passwords.rs` exchanges password files with it; `browser.rs` has mqtt.js in pages of Chromium. `DUNLIN_TEST_TRANSPORT` puts TLS, WebSocket, both or a Unix socket in the place of TCP. The suite starts the broker and speaks MQTT to
//! nobody itself. `scripts/test` installs the clients.

mod bridge;
mod browser;
#[path = "../support/certificate.rs"]
mod certificate;
mod life;
mod mosquitto;
#[path = "../support/node.rs"]
mod node;
mod passwords;
mod peer;
#[path = "../support/ports.rs"]
mod ports;
mod process;
mod rumqttc_driver_v4;
mod rumqttc_driver_v5;
mod scenarios;
mod scenarios_v5;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod words;

use stage::{Client, Library, Transport, play};
use words::Version;

/// Makes a module of tests for one client: one module a behaviour, one test a number of shards.
macro_rules! suite {
    ($name:ident, $library:ident speaks $version:ident: $($suite:tt)+) => {
        suite!($name, $library speaks $version over Tcp: $($suite)+);
    };
    (
        $name:ident, $library:ident speaks $version:ident over $transport:ident:
        $($from:ident::{$($behaviour:ident),+ $(,)?}),+ $(,)?
    ) => {
        mod $name {
            $($(mod $behaviour {
                use crate::{Client, Library, Transport, Version, play};

                const CLIENT: Client =
                    Client { library: Library::$library, version: Version::$version, transport: Transport::$transport };

                #[test]
                fn with_1_shard() {
                    play(CLIENT, stringify!($behaviour), 1, crate::$from::$behaviour);
                }

                #[test]
                fn with_2_shards() {
                    play(CLIENT, stringify!($behaviour), 2, crate::$from::$behaviour);
                }

                #[test]
                fn with_5_shards() {
                    play(CLIENT, stringify!($behaviour), 5, crate::$from::$behaviour);
                }
            })+)+
        }
    };
}

/// A client through everything that all versions have, and what else is named.
macro_rules! client {
    ($name:ident, $library:ident speaks $version:ident $(, $from:ident::{$($behaviour:ident),+ $(,)?})*) => {
        suite!($name, $library speaks $version:
            scenarios::{
                every_qos_both_ways, a_burst_keeps_its_order, a_large_payload_arrives_whole, wildcards_match_whole_levels,
                unsubscribing_ends_the_flow, retained_is_set_replaced_and_cleared,
                the_will_of_a_vanished_client_is_published, a_session_waits_for_its_client,
                a_shared_subscription_divides_messages, a_takeover_ends_the_first_connection,
            },
            $($from::{$($behaviour),+}),*
        );
    };
}

/// ... and through everything that MQTT 5.0 adds.
macro_rules! client_v5 {
    ($name:ident, $library:ident $(, $($more:ident),+)?) => {
        client!($name, $library speaks V5, scenarios_v5::{
            properties_are_passed_on_unchanged, aliases_of_the_client_are_resolved, aliases_of_the_server_are_understood,
            expired_messages_are_not_delivered, subscription_identifiers_come_with_messages, subscription_options_are_kept,
            unsubscribing_from_nothing_is_told, publishing_tells_whether_anybody_listened, an_invalid_filter_is_refused,
            a_delayed_will_waits, a_small_receive_maximum_loses_nothing, $($($more),+)?
        });
    };
}

client!(paho_v31, Paho speaks V31);
client!(paho_v311, Paho speaks V311);
client_v5!(paho_v5, Paho, a_nameless_client_gets_a_name);

client!(gmqtt_v311, Gmqtt speaks V311);
// gmqtt gives itself a name when it has none.
client_v5!(gmqtt_v5, Gmqtt);

client!(mqttjs_v31, MqttJs speaks V31);
client!(mqttjs_v311, MqttJs speaks V311, scenarios::{
    thousands_of_topics_are_one_subscribe, a_burst_of_5000_arrives_whole,
});
client_v5!(mqttjs_v5, MqttJs, a_nameless_client_gets_a_name);
suite!(mqttjs_v5_more, MqttJs speaks V5: scenarios::{
    thousands_of_topics_are_one_subscribe, a_burst_of_5000_arrives_whole,
});

client!(rumqttc_v311, Rumqttc speaks V311);
client_v5!(rumqttc_v5, Rumqttc, a_nameless_client_gets_a_name);

/// What depends on how bytes come, over something else than TCP. `DUNLIN_TEST_TRANSPORT` has the whole suite over it.
macro_rules! over {
    ($name:ident, $library:ident over $transport:ident) => {
        suite!($name, $library speaks V5 over $transport: scenarios::{
            every_qos_both_ways, a_burst_keeps_its_order, a_large_payload_arrives_whole,
            the_will_of_a_vanished_client_is_published, a_session_waits_for_its_client,
            a_takeover_ends_the_first_connection,
        });
    };
}

over!(paho_over_tls, Paho over Tls);
over!(paho_over_ws, Paho over WebSocket);
over!(paho_over_wss, Paho over SecureWebSocket);
over!(paho_over_unix, Paho over Unix);
over!(gmqtt_over_tls, Gmqtt over Tls);
over!(mqttjs_over_tls, MqttJs over Tls);
over!(mqttjs_over_ws, MqttJs over WebSocket);
over!(mqttjs_over_wss, MqttJs over SecureWebSocket);
over!(rumqttc_over_tls, Rumqttc over Tls);

/// A Mosquitto whose bridge connects to the broker under test, in every version that it speaks.
macro_rules! bridge {
    ($name:ident, $version:ident) => {
        suite!($name, Mosquitto speaks $version: bridge::{
            each_side_shows_a_message_once_and_retain_is_carried_over, the_state_of_a_bridge_can_be_read,
        });
    };
}

bridge!(mosquitto_bridge_v31, V31);
bridge!(mosquitto_bridge_v311, V311);
bridge!(mosquitto_bridge_v5, V5);

/// Mosquitto's commands, in every version.
macro_rules! mosquitto {
    ($name:ident, $version:ident $(, $more:ident)*) => {
        suite!($name, Mosquitto speaks $version: mosquitto::{
            every_qos_both_ways, lines_keep_their_order, a_file_arrives_whole, retained_is_set_replaced_and_cleared,
            the_will_of_a_killed_client_is_published, a_session_waits_for_its_client,
            a_shared_subscription_divides_messages, a_request_gets_its_response, $($more),*
        });
    };
}

mosquitto!(mosquitto_v31, V31);
mosquitto!(mosquitto_v311, V311);
suite!(mosquitto_over_tls, Mosquitto speaks V311 over Tls: mosquitto::{
    every_qos_both_ways, a_file_arrives_whole, the_will_of_a_killed_client_is_published,
});
suite!(mosquitto_over_unix, Mosquitto speaks V311 over Unix: mosquitto::{
    every_qos_both_ways, a_file_arrives_whole, the_will_of_a_killed_client_is_published,
});
mosquitto!(
    mosquitto_v5,
    V5,
    properties_are_passed_on_unchanged,
    aliases_of_the_client_are_resolved,
    the_limits_of_a_client_are_kept,
    a_takeover_is_told
);
