//! Rules broken on purpose, in what nodes and engine say to each other, and in what nodes do with it: a run that does not notice proves nothing.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Canary {
    #[default]
    None,
    /// Every 10th append is stored wherever the log ends, and nobody looks where that was.
    SkipFence,
    /// A batch counts as soon as the engine has it, whatever became of those before it.
    AckOutOfOrder,
    /// A batch counts as soon as it is sent.
    AckBeforeStored,
    /// Every 3rd MARK is not appended, and its owner begins with its first batch.
    ForgetMark,
    /// A damaged message is passed over as if it did not count.
    SkipHole,
    /// All replicas lose the end of a log. A positive control: no node does anything wrong.
    LoseTail,
    /// A purge takes one message more than was asked for.
    PurgeTooFar,
    /// Two nodes that claim a range at once call their messages alike.
    ShareNames,
    /// A node serves its clients on, however long nobody has heard it.
    ServeUnheard,
    /// Nodes do not see each other's beats.
    HideBeats,
    /// Of every 20th batch that a new owner reads it forgets what it says.
    ForgetBatch,
    /// Every 20th batch that a new owner reads is taken twice.
    TakeTwice,
    /// Each node takes another's word that it lacks one link for the word that it lacks all.
    CutEachOther,
    /// A node that reaches one member takes all of them for reached.
    JoinHalfReached,
    /// A node takes whom it does not reach any more for one who is unheard as well.
    ServeAlone,
    /// Of retained messages: what an earlier write has overtaken is not written over it.
    OlderWins,
    /// Of retained messages: every tenth is confirmed before it is stored.
    AckBeforeAppend,
}

impl Canary {
    /// All that break something.
    pub(crate) const ALL: [Self; 15] = [
        Self::SkipFence,
        Self::AckOutOfOrder,
        Self::AckBeforeStored,
        Self::ForgetMark,
        Self::SkipHole,
        Self::LoseTail,
        Self::PurgeTooFar,
        Self::ShareNames,
        Self::ServeUnheard,
        Self::HideBeats,
        Self::ForgetBatch,
        Self::TakeTwice,
        Self::CutEachOther,
        Self::JoinHalfReached,
        Self::ServeAlone,
    ];
    /// Those that break something about retained messages.
    pub(crate) const RETAINED: [Self; 2] = [Self::OlderWins, Self::AckBeforeAppend];
}

/// Counts how often a canary could break something.
#[derive(Debug, Default)]
pub(crate) struct Cage {
    pub(crate) canary: Canary,
    count: u64,
}

impl Cage {
    pub(crate) const fn new(canary: Canary) -> Self {
        Self { canary, count: 0 }
    }

    pub(crate) fn is(&self, canary: Canary) -> bool {
        self.canary == canary
    }

    /// Whether this is one of every so many times that it breaks something.
    pub(crate) fn breaks(&mut self, canary: Canary, every: u64) -> bool {
        if self.canary != canary {
            return false;
        }
        self.count += 1;
        self.count.is_multiple_of(every)
    }
}
