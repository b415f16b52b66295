//! Rules broken on purpose, in what nodes say to each other and in what is done with it: a run that does not notice proves nothing.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Canary {
    #[default]
    None,
    /// A node takes its announcement for applied as soon as it is said.
    SubackEarly,
    /// A node lets clients in before all members wait for it.
    OpenUncounted,
    /// When a connection stands again, the last frames that have arrived are said once more.
    ResendAll,
    /// What a broken connection has not delivered is lost.
    ForgetUnreceived,
    /// A process that is gone leaves its slot before shards have forgotten it.
    SlotTooSoon,
    /// Shards are not told to forget who is gone.
    ForgetNobody,
    /// Who is dead stays in the map.
    WaitForDead,
    /// Each answer about a message is heard twice.
    StoredTwice,
    /// A message that came by a link goes on to the other nodes.
    PassInCircle,
}

impl Canary {
    /// All that break something.
    pub(crate) const ALL: [Self; 9] = [
        Self::SubackEarly,
        Self::OpenUncounted,
        Self::ResendAll,
        Self::ForgetUnreceived,
        Self::SlotTooSoon,
        Self::ForgetNobody,
        Self::WaitForDead,
        Self::StoredTwice,
        Self::PassInCircle,
    ];
}
