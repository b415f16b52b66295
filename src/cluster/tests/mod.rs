//! Tests of the cluster's parts together, driven by hand; chance is left to the simulator.

mod alone;
mod cut_off;
mod link;
mod link_stream;
mod map;
mod membership;
mod node;
mod owner;
mod reader;
mod retained;
mod script;
mod view;
