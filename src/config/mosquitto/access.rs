//! Who may come in by which listener, and what they may do.
//!
//! Always holds: no door is opened. Where what kept clients out has no counterpart (a plugin, rules of one listener alone), the listener
//! lets in nobody until the operator has said who may.

use super::ImportNote;
use super::draft::{Draft, DraftListener};
use super::lines::{ConfLine, ConfPlace};
use super::plugins::{PluginKind, kind_of};
use super::sections::{ConfPlugin, Sections};

/// Says in the draft who may come in.
pub(super) fn take_over(sections: &Sections, draft: &mut Draft, notes: &mut Vec<ImportNote>) {
    let mut taker = AccessTaker { sections, draft, notes, acl_file: None };
    taker.plugins();
    taker.anonymous_of_all();
    taker.password_files();
    for listener in 0..sections.listeners.len() {
        taker.listener(listener);
    }
    taker.rules();
    taker.client_ids();
}

/// A file, and the line that names it.
struct NamedFile {
    path: String,
    line: ConfLine,
}

struct AccessTaker<'a, 'n> {
    sections: &'a Sections,
    draft: &'n mut Draft,
    notes: &'n mut Vec<ImportNote>,
    /// The rules that hold for all.
    acl_file: Option<NamedFile>,
}

impl AccessTaker<'_, '_> {
    /// Says of each plugin what it is here.
    fn plugins(&mut self) {
        let sections = self.sections;
        for plugin in &sections.plugins {
            if let Some(text) = kind_of(&plugin.path).answer(plugin) {
                self.notes.push(plugin.opened.note(text));
            }
        }
    }

    fn anonymous_of_all(&mut self) {
        let sections = self.sections;
        if sections.per_listener {
            return;
        }
        let has_listeners = !sections.listeners.is_empty();
        if let Some(plugin) = sections.plugins.iter().find(|plugin| kind_of(&plugin.path).decides())
            && !has_listeners
        {
            let text = "who may come in was the matter of this plugin: until you say who may, nobody comes in (allow_anonymous = false)";
            self.notes.push(plugin.opened.note(text));
            let why = format!("closed until you say who may come in: {}", plugin.opened.place);
            self.draft.broker.set_word("allow-anonymous", "false", why);
            return;
        }
        match sections.get("allow_anonymous") {
            Some(line) => {
                let word = if line.is_on() { "true" } else { "false" };
                self.draft.broker.set_word("allow-anonymous", word, line.place.to_string());
            }
            None if has_listeners => {
                self.draft.broker.set_word("allow-anonymous", "false", "as Mosquitto has it where nothing is said");
            }
            None => {}
        }
    }

    /// The files of users: one for all, or each listener's own.
    fn password_files(&mut self) {
        let count = self.sections.listeners.len();
        let files: Vec<Option<NamedFile>> =
            (0..count.max(1)).map(|at| self.file(at, PluginKind::PasswordFile, "password_file")).collect();
        let path = |file: &Option<NamedFile>| file.as_ref().map(|file| file.path.clone());
        let are_alike = files.iter().all(|file| path(file) == path(&files[0]));
        for (at, file) in files.into_iter().enumerate().filter(|(at, _)| *at == 0 || !are_alike) {
            let Some(file) = file else { continue };
            let table = if are_alike { &mut self.draft.broker } else { &mut self.draft.listeners[at].table };
            let set = table.set("password-file", &[&file.path], file.line.place.to_string());
            self.notes.extend(set.err().map(|error| file.line.note(format!("{error}; it is left out"))));
        }
    }

    /// The file of users or of rules of a listener's clients, said by an option or by a plugin.
    fn file(&mut self, listener: usize, kind: PluginKind, option: &str) -> Option<NamedFile> {
        let by_option = self.sections.access(listener, option);
        let by_option = by_option.map(|line| NamedFile { path: line.value.clone(), line: line.clone() });
        let of_plugin = |plugin: &ConfPlugin| {
            let line = plugin.option(option)?;
            Some(NamedFile { path: line.value.clone(), line: line.clone() })
        };
        let is_meant = |plugin: &&ConfPlugin| kind_of(&plugin.path) == kind && plugin.is_for(listener);
        let by_plugin = self.sections.plugins.iter().filter(is_meant).find_map(of_plugin);
        if let (Some(first), Some(second)) = (&by_plugin, &by_option)
            && first.path != second.path
        {
            let text = format!("{} counts, and this one is left out: there is one file", first.line.place);
            self.notes.push(second.line.note(text));
        }
        by_plugin.or(by_option)
    }

    fn listener(&mut self, at: usize) {
        let sections = self.sections;
        let conf = &sections.listeners[at];
        if sections.per_listener {
            let line = conf.get("allow_anonymous");
            let word = if line.is_some_and(ConfLine::is_on) { "true" } else { "false" };
            let why =
                line.map_or("as Mosquitto has it where nothing is said".to_owned(), |line| line.place.to_string());
            self.table(at).table.set_word("allow-anonymous", word, why);
        }
        if let Some(line) = conf.get("listener_allow_anonymous") {
            let word = if line.is_on() { "true" } else { "false" };
            self.table(at).table.set_word("allow-anonymous", word, line.place.to_string());
        }
        let is_unknown = |plugin: &&ConfPlugin| kind_of(&plugin.path).decides() && plugin.is_for(at);
        if let Some(plugin) = sections.plugins.iter().find(is_unknown) {
            self.close(at, &plugin.opened, "who may come in was the matter of this plugin");
        }
        if let Some(line) = sections.access(at, "psk_file").filter(|_| conf.get("psk_hint").is_none()) {
            self.notes.push(line.note("there are no pre-shared keys; no listener here had them"));
        }
    }

    /// Lets nobody in by a listener.
    fn close(&mut self, at: usize, line: &ConfLine, because: &str) {
        let place = self.sections.listeners[at].opened.place.clone();
        let text = format!(
            "{because}: until you say who may come in by the listener of {place}, it lets in nobody (allow_anonymous = false, \
             no password_file)"
        );
        self.notes.push(line.note(text));
        let why = format!("closed until you say who may come in: {}", line.place);
        let has_users = self.draft.broker.has("password-file");
        let listener = self.table(at);
        listener.table.set_word("allow-anonymous", "false", &why);
        for flag in ["password-file", "certificate-user"] {
            listener.table.turn_off(flag);
        }
        if has_users {
            listener.table.set_word("password-file", "none", &why);
        }
    }

    fn table(&mut self, at: usize) -> &mut DraftListener {
        &mut self.draft.listeners[at]
    }

    /// The access rules: one file, for all listeners.
    fn rules(&mut self) {
        let count = self.sections.listeners.len();
        let files: Vec<Option<NamedFile>> =
            (0..count.max(1)).map(|at| self.file(at, PluginKind::AclFile, "acl_file")).collect();
        let mut without: Vec<ConfPlace> = Vec::new();
        for (at, file) in files.into_iter().enumerate() {
            match (&self.acl_file, file) {
                (None, Some(file)) => self.acl_file = Some(file),
                (Some(first), Some(file)) if first.path != file.path => {
                    let because = format!(
                        "rules hold for all listeners, and those of {} are taken; dunlin's own form has rules for some listeners \
                         (listeners = [\"NAME\"], docs/CONFIGURATION.md, \"Access rules\")",
                        first.path
                    );
                    self.close(at, &file.line.clone(), &because);
                }
                (_, Some(_)) => {}
                (_, None) => {
                    without.extend(self.sections.listeners.get(at).map(|listener| listener.opened.place.clone()));
                }
            }
        }
        self.said_for_all();
        let Some(file) = self.acl_file.take() else { return };
        let set = self.draft.broker.set("acl-file", &[&file.path], file.line.place.to_string());
        self.notes.extend(set.err().map(|error| file.line.note(format!("{error}; it is left out"))));
        for place in without {
            let text = format!(
                "rules hold for all listeners: for the clients of the listener of {place}, too, which had none"
            );
            self.notes.push(file.line.note(text));
        }
        self.unverified_names(&file);
    }

    /// What each listener says for itself need not be said for all, and would have no effect.
    fn said_for_all(&mut self) {
        let listeners = &self.draft.listeners;
        if !listeners.is_empty() && listeners.iter().all(|listener| listener.table.has("allow-anonymous")) {
            self.draft.broker.unset("allow-anonymous");
        }
    }

    /// Rules about users where nobody checks who a user is.
    fn unverified_names(&mut self, file: &NamedFile) {
        let has_users = |at: usize| {
            self.draft.broker.has("password-file")
                || self.draft.listeners.get(at).is_some_and(|listener| {
                    listener.table.has("password-file") || listener.table.has("certificate-user")
                })
        };
        if !(0..self.sections.listeners.len().max(1)).all(has_users) {
            self.notes.push(file.line.note(
                "a user name counts where it was proved: by a listener without password_file every client is one without a name, \
                 and the lines below a user hold for nobody there",
            ));
        }
    }

    /// Options about client ids.
    fn client_ids(&mut self) {
        let sections = self.sections;
        if let Some(line) = sections.get("clientid_prefixes") {
            let text = "client ids are no secret, and there is no such bound; [auth] client_id_pattern binds them to user names. \
                        Clients without a password are refused until you say otherwise";
            self.notes.push(line.note(text));
            self.draft.broker.set_word("allow-anonymous", "false", line.place.to_string());
            for listener in &mut self.draft.listeners {
                if listener.table.has("allow-anonymous") {
                    listener.table.set_word("allow-anonymous", "false", line.place.to_string());
                }
            }
        }
        let lines: Vec<&ConfLine> = if sections.per_listener {
            sections.listeners.iter().filter_map(|listener| listener.get("allow_zero_length_clientid")).collect()
        } else {
            sections.get("allow_zero_length_clientid").into_iter().collect()
        };
        let off: Vec<&ConfLine> = lines.into_iter().filter(|line| !line.is_on()).collect();
        let Some(first) = off.first() else { return };
        if sections.per_listener && off.len() < sections.listeners.len() {
            self.notes.push(first.note(
                "it holds for all listeners, and not all of them had it: it is left out ([mqtt] empty_client_ids)",
            ));
            return;
        }
        self.draft.broker.set_word("empty-client-ids", "refuse", first.place.to_string());
    }
}
