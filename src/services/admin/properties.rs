//! Properties of messages in answers.

use serde::Serialize;
use utoipa::ToSchema;

use crate::shard::ShownProperties;

/// What MQTT 5.0 says about a payload, and what its publisher adds; what a message does not have is left out.
#[derive(Serialize, ToSchema)]
pub(super) struct PropertiesView {
    /// What the payload is, as its publisher says.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    /// Where its publisher expects an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<String>,
    /// User properties in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    user_properties: Vec<UserPropertyView>,
    /// How many of these properties are too long to be shown.
    #[serde(skip_serializing_if = "is_none")]
    properties_left_out: u32,
}

/// What a publisher has added to a message, in its own words.
#[derive(Serialize, ToSchema)]
pub(super) struct UserPropertyView {
    /// May come several times.
    name: String,
    /// May be empty.
    value: String,
}

impl From<ShownProperties> for PropertiesView {
    fn from(shown: ShownProperties) -> Self {
        let user = shown.user.into_iter();
        Self {
            content_type: shown.content_type.map(Into::into),
            response_topic: shown.response_topic.map(Into::into),
            user_properties: user
                .map(|(name, value)| UserPropertyView { name: name.into(), value: value.into() })
                .collect(),
            properties_left_out: shown.left_out,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_none(count: &u32) -> bool {
    *count == 0
}
