//! What the methods of a listener are set to, beside the password file: who may be what, whose word counts.
//!
//! Always holds: each row is a listener's; `ListenerSettings` carries them.

#![allow(clippy::doc_markdown, reason = "what explains a setting is shown on terminals, as it stands")]

use super::client_id_pattern::{ClientIdPattern, check_client_id_pattern};
use super::{Fallback, Kind, Setting};

super::declare_settings! {
    /// What the operator chose for the methods of one listener.
    AuthenticationSettings, AUTHENTICATION_ROWS;

    Auth {
        /// Client ids that clients of a user may have: any, or a pattern such as %u/*.
        ///
        /// %u is the user name that was verified, * stands for one or more characters. A client whose id does not fit is refused with
        /// 0x85 (2 before MQTT 5.0), and so is one without a verified user name; a client id that the broker has made up fits. A user
        /// name that holds what stands between %u and * has no clients: its ids would be another user's too.
        client_id_pattern: ClientIdPattern = Setting::new(
            "client-id-pattern",
            Kind::Text { check: check_client_id_pattern, noun: "pattern", allowed: "any, or a pattern with %u" },
            Fallback::Text("any"),
        ).for_each_listener(), Start;
    }
}
