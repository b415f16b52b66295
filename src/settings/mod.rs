//! What there is to set. Each setting is declared once, as a row of [`declare_settings`]: type, unit, range, default, help,
//! and whether it changes at a reload or at a start.
//!
//! Owns: what a row is ([`Setting`]), how a text becomes its value, and the rows that the core reads: [`Settings`] of the
//! whole broker and [`ListenerSettings`] of one listener. `config` declares the rows of the process in the same way.
//! Always holds: a default stands in its row and nowhere else; a struct of settings that exists is within all bounds.
//! Leaves to others: where a value comes from (`config`), what it means (its reader).
//!
//! A new setting takes its row, its bounds in [`crate::limits`], and whoever reads it. Flag, variable, key, help,
//! documentation, example file, `--print-config` and the comparison at a reload follow from the row.

mod authentication;
mod client_id_pattern;
mod declared;
mod listener;
mod lists;
mod network;
mod predefined_topics;
mod setting;
mod texts;
mod units;
mod value;

pub use authentication::{AUTHENTICATION_ROWS, AuthenticationSettings};
pub use client_id_pattern::ClientIdPattern;
#[cfg(feature = "runtime")]
pub(crate) use declared::check_name;
pub use declared::{LISTENER_ROWS, ListenerSettings, SETTINGS_ROWS, Settings};
pub use listener::INTERNAL_LISTENER_NAME;
pub use lists::{MqttVersions, Networks, Origins, UserNames};
pub use network::Network;
pub use predefined_topics::{PredefinedTopics, is_topic_name};
pub use setting::{Change, Fallback, Kind, Machine, Scope, Section, Setting};
pub use texts::OptionalText;
#[cfg(feature = "runtime")]
pub(crate) use texts::{authority_of, check_file, check_text, check_url};
pub use units::Unit;
pub(crate) use value::FromValue;
#[cfg(feature = "runtime")]
pub(crate) use value::words;
pub use value::{
    Acceptance, AnonymousAccess, AuthMethod, CertificateUser, ClientCertificates, DeniedPublish, ExpiredLists,
    FullQueue, FullQueueCode, ListenerKind, MethodOrder, OptionalFile, RefusedDollarTopics, TlsTickets, TlsVersion,
    Value, WhenHttpDown,
};

/// Makes a struct of typed values and the constant that holds their rows.
///
/// A row reads: explanation (first paragraph for `-h`, all of it for `--help` and the documentation), field, type, the
/// setting with flag, unit, bounds and default, and when it changes. Behind `.. derived` stand fields that nobody sets.
macro_rules! declare_settings {
    (
        $(#[doc = $about:literal])+
        $name:ident, $rows:ident;
        $( $section:ident { $( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $setting:expr, $change:ident; )+ } )+
        $( .. derived { $( $(#[doc = $derived_doc:literal])+ $derived:ident: $derived_type:ty = $value:expr; )+ } )?
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $( $( $(#[doc = $doc])+ pub $field: $type, )+ )+
            $( $( $(#[doc = $derived_doc])+ pub $derived: $derived_type, )+ )?
        }

        /// The rows of the struct that is declared with them, in the order of its fields.
        pub const $rows: &[$crate::settings::Setting] = &[
            $( $( $crate::settings::Setting {
                section: $crate::settings::Section::$section,
                change: $crate::settings::Change::$change,
                doc: &[$($doc),+],
                ..$setting
            }, )+ )+
        ];

        impl $name {
            /// From the value of each row.
            pub(crate) fn from_values(value_of: &dyn Fn(&'static $crate::settings::Setting) -> $crate::settings::Value) -> Self {
                // Fields are evaluated in the order they are written, which is that of the rows.
                let mut rows = $rows.iter();
                let mut next = || value_of(rows.next().expect("a row for each field"));
                Self {
                    $( $( $field: $crate::settings::FromValue::from_value(next()), )+ )+
                    $( $( $derived: $value, )+ )?
                }
            }
        }

        /// The defaults on a machine of one core.
        impl Default for $name {
            fn default() -> Self {
                let machine = $crate::settings::Machine::default();
                Self::from_values(&|row| row.default_value(&machine))
            }
        }
    };
}
pub(crate) use declare_settings;
