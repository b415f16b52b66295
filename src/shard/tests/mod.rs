//! The shard as its peers see it: one file a theme, each test a transcript of packets.

mod harness;
mod held_packets;
mod show;

mod access;
mod acks;
mod alias;
mod command;
mod connect;
mod durable;
mod fanouts;
mod forwards;
mod group;
mod group_end;
mod group_room;
mod hold_back;
mod keep_alive;
mod limits;
mod losses;
mod many_filters;
mod owners;
mod policy;
mod qos_in;
mod qos_out;
mod queue;
mod reauthentication;
mod replay;
mod replayed;
mod restart;
mod retained;
mod routing;
mod sys;
mod takeover;
mod teardown;
mod verdict;
mod will;
