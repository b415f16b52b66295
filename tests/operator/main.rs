//! The built binary as it serves an operator who has a file: listeners, reloads, signals.

#![cfg(feature = "runtime")]

mod admin;
mod admin_api;
mod admin_audit;
mod admin_bans;
mod admin_do;
mod admin_drain;
mod admin_hosts;
mod admin_look;
mod admin_tls;
mod admin_watch;
mod bridge_faults;
mod bridges;
mod broker;
mod doctor;
mod every_call;
mod full;
mod hostile_tls;
mod howto;
mod keep_alive;
mod listeners;
mod log;
mod monitoring;
mod mounts;
mod moving;
mod mqtt_sn;
mod otel;
mod passwords;
#[path = "../support/ports.rs"]
mod ports;
mod provider;
mod rates;
#[allow(dead_code, reason = "shared with suites that have it fail")]
#[path = "../support/recorder.rs"]
mod recorder;
mod reload;
mod reload_all;
mod reload_listeners;
mod rules;
mod service;
mod sinks;
#[allow(dead_code, reason = "shared with the suite that has disks fail")]
#[path = "../crash/small_disk.rs"]
mod small_disk;
mod source_tables;
mod sources;
mod stall;
mod tls;
mod tls_choices;
mod tls_lists;
mod turned_away;
mod typed;
mod unix;
mod web;
#[path = "../support/websocket.rs"]
mod websocket;
