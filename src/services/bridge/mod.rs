//! Bridges.

use std::sync::Arc;

use super::connectors::ConnectorContext;
use crate::config::BridgeSettings;

pub(super) async fn run(_settings: Arc<BridgeSettings>, _node: &str, mut context: ConnectorContext) {
    context.stopped().await;
}
