//! What each line of a mosquitto.conf belongs to: the broker, a listener, a plugin or a bridge.
//!
//! Always holds: a line belongs where Mosquitto 2 would put it. What stands before the first `listener` and is about one makes the default
//! listener; who may come in is a listener's matter where `per_listener_settings` says so, and the broker's otherwise.

use super::ImportNote;
use super::lines::ConfLine;

/// What `listener` opens, or what stands before the first of them and is about one.
#[derive(Clone, Debug)]
pub(super) struct ConfListener {
    /// The line that makes it.
    pub(super) opened: ConfLine,
    /// 0 where it listens at a path.
    pub(super) port: u16,
    /// An address, a host, or a path; `None` is every address.
    pub(super) host: Option<String>,
    /// Why there can be no such listener, and the line that is about.
    pub(super) fault: Option<(ConfLine, &'static str)>,
    /// What is said of it.
    pub(super) lines: Vec<ConfLine>,
}

impl ConfListener {
    /// The line that counts for an option: the last.
    pub(super) fn get(&self, option: &str) -> Option<&ConfLine> {
        self.lines.iter().rev().find(|line| line.option == option)
    }

    /// Whether a switch is on.
    pub(super) fn is_on(&self, option: &str) -> bool {
        self.get(option).is_some_and(ConfLine::is_on)
    }
}

/// A plugin that Mosquitto loads.
#[derive(Clone, Debug)]
pub(super) struct ConfPlugin {
    pub(super) opened: ConfLine,
    /// What `plugin_load` calls it.
    name: Option<String>,
    /// Its file.
    pub(super) path: String,
    pub(super) options: Vec<ConfLine>,
    /// Listeners that it is for, by their place; `None` is all.
    pub(super) listeners: Option<Vec<usize>>,
}

impl ConfPlugin {
    /// Whether a listener's clients are its matter.
    pub(super) fn is_for(&self, listener: usize) -> bool {
        self.listeners.as_ref().is_none_or(|listeners| listeners.contains(&listener))
    }

    /// The value of an option, without what stands before its name.
    pub(super) fn option(&self, name: &str) -> Option<&ConfLine> {
        let is_meant = |line: &&ConfLine| {
            let bare = line.option.strip_prefix("plugin_opt_").or_else(|| line.option.strip_prefix("auth_opt_"));
            bare == Some(name)
        };
        self.options.iter().rev().find(is_meant)
    }
}

/// A `connection` section.
#[derive(Clone, Debug)]
pub(super) struct ConfBridge {
    pub(super) opened: ConfLine,
    /// What is said of it.
    pub(super) lines: Vec<ConfLine>,
}

/// A whole file, sorted.
#[derive(Debug, Default)]
pub(super) struct Sections {
    /// Whether who may come in is said for each listener.
    pub(super) per_listener: bool,
    pub(super) globals: Vec<ConfLine>,
    pub(super) listeners: Vec<ConfListener>,
    pub(super) plugins: Vec<ConfPlugin>,
    pub(super) bridges: Vec<ConfBridge>,
}

impl Sections {
    /// The line that counts for an option of the broker: the last.
    pub(super) fn get(&self, option: &str) -> Option<&ConfLine> {
        self.globals.iter().rev().find(|line| line.option == option)
    }

    /// The line that says something about who may come in by a listener.
    pub(super) fn access(&self, listener: usize, option: &str) -> Option<&ConfLine> {
        if self.per_listener { self.listeners.get(listener)?.get(option) } else { self.get(option) }
    }
}

/// Options that are about one listener.
const OF_LISTENER: &[&str] = &[
    "accept_protocol_versions",
    "bind_interface",
    "cafile",
    "capath",
    "certfile",
    "ciphers",
    "ciphers_tls1.3",
    "crlfile",
    "dhparamfile",
    "disable_client_cert_date_checks",
    "enable_proxy_protocol",
    "http_dir",
    "keyfile",
    "listener_allow_anonymous",
    "listener_auto_id_prefix",
    "max_connections",
    "max_qos",
    "maximum_qos",
    "max_topic_alias",
    "max_topic_alias_broker",
    "mount_point",
    "packet_buffer_size",
    "protocol",
    "proxy_protocol_v2_require_tls",
    "psk_hint",
    "require_certificate",
    "socket_domain",
    "tls_engine",
    "tls_engine_kpass_sha1",
    "tls_keyform",
    "tls_version",
    "use_identity_as_username",
    "use_subject_as_username",
    "use_username_as_clientid",
    "websockets_headers_size",
    "websockets_origin",
    "port",
    "bind_address",
];

/// Options that are about one listener where `per_listener_settings` is on.
const OF_ACCESS: &[&str] =
    &["acl_file", "allow_anonymous", "allow_zero_length_clientid", "auto_id_prefix", "password_file", "psk_file"];

/// Options that are `true` or `false`. Mosquitto does not start with anything else.
const SWITCHES: &[&str] = &[
    "allow_anonymous",
    "allow_duplicate_messages",
    "allow_zero_length_clientid",
    "autosave_on_changes",
    "check_retain_source",
    "connection_messages",
    "disable_client_cert_date_checks",
    "enable_control_api",
    "listener_allow_anonymous",
    "log_timestamp",
    "per_listener_settings",
    "persistence",
    "proxy_protocol_v2_require_tls",
    "queue_qos0_messages",
    "require_certificate",
    "retain_available",
    "set_tcp_nodelay",
    "upgrade_outgoing_qos",
    "use_identity_as_username",
    "use_subject_as_username",
    "use_username_as_clientid",
];

/// Options of a bridge; and all that begin with `bridge_`.
const OF_BRIDGE: &[&str] = &[
    "address",
    "addresses",
    "cleansession",
    "clientid",
    "idle_timeout",
    "keepalive_interval",
    "local_cleansession",
    "local_clientid",
    "local_password",
    "local_username",
    "notification_topic",
    "notifications",
    "notifications_local_only",
    "password",
    "remote_clientid",
    "remote_password",
    "remote_username",
    "restart_timeout",
    "round_robin",
    "start_type",
    "threshold",
    "topic",
    "try_private",
    "username",
];

/// Sorts the lines of a file.
pub(super) fn sort(lines: Vec<ConfLine>, notes: &mut Vec<ImportNote>) -> Sections {
    let mut sorter = Sorter::default();
    sorter.sections.per_listener = lines.iter().any(|line| line.option == "per_listener_settings" && line.is_on());
    for line in lines {
        let is_odd = SWITCHES.contains(&line.option.as_str()) && !line.is_switch();
        if is_odd {
            notes.push(line.note("it is true or false, and Mosquitto takes nothing else: here it is false"));
        }
        if let Err(note) = sorter.take(line) {
            notes.push(note);
        }
    }
    sorter.sections
}

#[derive(Default)]
struct Sorter {
    sections: Sections,
    /// The listener that is being described.
    current: Option<usize>,
    /// The one that nobody has opened.
    default: Option<usize>,
    /// The plugin that is being described.
    plugin: Option<usize>,
}

impl Sorter {
    fn take(&mut self, line: ConfLine) -> Result<(), ImportNote> {
        let option = line.option.as_str();
        match option {
            "per_listener_settings" => Ok(()),
            "include_dir" => {
                Err(line.note("files that are included include no others: as with Mosquitto it is left out"))
            }
            "listener" => {
                self.open_listener(line);
                Ok(())
            }
            "connection" => {
                self.sections.bridges.push(ConfBridge { opened: line, lines: Vec::new() });
                Ok(())
            }
            "plugin" | "auth_plugin" | "global_plugin" | "plugin_load" => {
                self.open_plugin(line);
                Ok(())
            }
            "plugin_use" => self.use_plugin(&line),
            _ if option.starts_with("plugin_opt_") || option.starts_with("auth_opt_") => self.plugin_line(line),
            "auth_plugin_deny_special_chars" => self.plugin_line(line),
            _ if OF_BRIDGE.contains(&option) || option.starts_with("bridge_") => self.bridge_line(line),
            // They mean nothing, and make no listener.
            "max_connections" if self.current.is_none() && line.value.starts_with('-') => Ok(()),
            "protocol" if self.current.is_none() && line.value == "mqtt" => Ok(()),
            _ if OF_LISTENER.contains(&option) => {
                self.listener_line(line);
                Ok(())
            }
            _ if self.sections.per_listener && OF_ACCESS.contains(&option) => {
                self.listener_line(line);
                Ok(())
            }
            _ => {
                self.sections.globals.push(line);
                Ok(())
            }
        }
    }

    fn open_listener(&mut self, line: ConfLine) {
        let mut words = line.value.split_whitespace();
        let port: Option<u16> = words.next().and_then(|port| port.parse().ok());
        let host = words.next().filter(|host| !host.starts_with('#')).map(str::to_owned);
        let fault = match (port, &host) {
            (None, _) => Some((line.clone(), "there is no port (1 to 65535)")),
            (Some(0), None) => Some((line.clone(), "port 0 is a path of this machine, and there is none")),
            _ => None,
        };
        // What follows is about it, whether it can be or not.
        let port = port.unwrap_or_default();
        self.sections.listeners.push(ConfListener { opened: line, port, host, fault, lines: Vec::new() });
        self.current = Some(self.sections.listeners.len() - 1);
    }

    fn listener_line(&mut self, line: ConfLine) {
        let is_of_default = matches!(line.option.as_str(), "port" | "bind_address");
        let at = if is_of_default { self.default } else { self.current };
        let at = at.unwrap_or_else(|| {
            let opened = line.clone();
            let listener = ConfListener { opened, port: 1883, host: None, fault: None, lines: Vec::new() };
            self.sections.listeners.push(listener);
            let at = self.sections.listeners.len() - 1;
            self.default = Some(at);
            self.current.get_or_insert(at);
            at
        });
        let listener = &mut self.sections.listeners[at];
        match (line.option.as_str(), line.word().parse()) {
            ("port", Ok(port @ 1..)) => listener.port = port,
            ("port", _) => {
                listener.fault = Some((line, "there is no such port (1 to 65535), and Mosquitto takes none"));
            }
            ("bind_address", _) => listener.host = Some(line.value),
            _ => listener.lines.push(line),
        }
    }

    fn open_plugin(&mut self, line: ConfLine) {
        let (name, path) = match line.value.split_once(' ') {
            Some((name, path)) if line.option == "plugin_load" => (Some(name.to_owned()), path.trim().to_owned()),
            _ => (None, line.value.clone()),
        };
        let is_for_one = self.sections.per_listener && line.option != "global_plugin";
        let listeners = match line.option.as_str() {
            "plugin_load" => Some(Vec::new()),
            _ if is_for_one => Some(self.current.into_iter().collect()),
            _ => None,
        };
        self.sections.plugins.push(ConfPlugin { opened: line, name, path, options: Vec::new(), listeners });
        self.plugin = Some(self.sections.plugins.len() - 1);
    }

    fn use_plugin(&mut self, line: &ConfLine) -> Result<(), ImportNote> {
        let plugins = &mut self.sections.plugins;
        let named = plugins.iter_mut().find(|plugin| plugin.name.as_deref() == Some(line.value.as_str()));
        match (named.and_then(|plugin| plugin.listeners.as_mut()), self.current) {
            (Some(listeners), Some(current)) => {
                listeners.push(current);
                Ok(())
            }
            (None, _) => Err(line.note("no plugin_load has this name")),
            (_, None) => Err(line.note("it stands before any listener")),
        }
    }

    fn plugin_line(&mut self, line: ConfLine) -> Result<(), ImportNote> {
        match self.plugin {
            Some(plugin) => {
                self.sections.plugins[plugin].options.push(line);
                Ok(())
            }
            None => Err(line.note("it stands before any plugin, and means nothing")),
        }
    }

    fn bridge_line(&mut self, line: ConfLine) -> Result<(), ImportNote> {
        let Some(bridge) = self.sections.bridges.last_mut() else {
            return Err(line.note("it is an option of bridges and stands before any connection"));
        };
        bridge.lines.push(line);
        Ok(())
    }
}
