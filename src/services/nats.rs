//! How sinks, sources and a cluster reach a NATS server.
//!
//! Always holds: files of certificates and credentials are read when a connection is opened.
//! Leaves to others: subjects, streams and acknowledgements (`sinks::nats`, `sources::nats`, `cluster`).

use async_nats::{Client, ConnectOptions};

use crate::config::targets::{NatsLogin, NatsServerSettings};
use crate::services::tls_client::client_config;

/// Opens a connection; the library opens it again where it is lost.
pub(crate) async fn connect(settings: &NatsServerSettings) -> Result<Client, String> {
    let options = connect_options(settings, &settings.login).await?;
    options.connect(settings.servers.as_slice()).await.map_err(|error| words_of(&error))
}

/// How one is opened by this login.
pub(crate) async fn connect_options(
    settings: &NatsServerSettings,
    login: &NatsLogin,
) -> Result<ConnectOptions, String> {
    let options = ConnectOptions::new().name("dunlin").connection_timeout(settings.timeout);
    let options = options.request_timeout(Some(settings.timeout));
    let options = match login {
        NatsLogin::None => options,
        NatsLogin::Password(user, password) => options.user_and_password(user.clone(), password.read()?),
        NatsLogin::Token(token) => options.token(token.read()?),
        NatsLogin::Credentials(path) => {
            options.credentials_file(path).await.map_err(|error| format!("{}: {error}", path.display()))?
        }
    };
    Ok(match &settings.tls {
        None => options,
        Some(tls) => options.require_tls(true).tls_client_config((*client_config(tls)?).clone()),
    })
}

/// An error with its causes.
pub(crate) fn words_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Many repeat their cause.
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
