//! The command window: which CmdSN a target expects and how many more commands it takes (RFC 7143 §4.2.2.1).
//!
//! ```text
//!              ExpCmdSN                       MaxCmdSN
//!   Duplicate  | Deliver | Future (hole before)  |  OutOfWindow
//! ```
//!
//! The window tells what to do with a CmdSN; commands themselves are the session's. A window opens by one for each
//! command that is finished ([`CommandWindow::reopen`]), so MaxCmdSN never goes back (RFC 7143 §4.2.2.1).

use std::collections::HashSet;

use crate::serial::CmdSn;

/// What to do with a command that has just arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arrival {
    /// In order: hand it to the device, then ask [`CommandWindow::release`] for those that waited behind it.
    Deliver,
    /// An earlier command is missing: keep it. It can come on another connection of the session.
    Future,
    /// It came before: drop it without an answer.
    Duplicate,
    /// Beyond MaxCmdSN: drop it without an answer.
    OutOfWindow,
}

/// ExpCmdSN, MaxCmdSN and the numbers that arrived ahead of their turn.
#[derive(Clone, Debug)]
pub struct CommandWindow {
    exp_cmd_sn: CmdSn,
    max_cmd_sn: CmdSn,
    ahead: HashSet<CmdSn>,
    depth: u32,
}

impl CommandWindow {
    /// A window that expects `initial` first and takes up to `depth` commands (1 to 2^31-1) at a time.
    #[must_use]
    pub fn new(initial: CmdSn, depth: u32) -> Self {
        let depth = depth.clamp(1, (1 << 31) - 1);
        Self { exp_cmd_sn: initial, max_cmd_sn: initial.plus(depth - 1), ahead: HashSet::new(), depth }
    }

    /// ExpCmdSN, for the header of every PDU to the initiator.
    #[must_use]
    pub const fn exp_cmd_sn(&self) -> CmdSn {
        self.exp_cmd_sn
    }

    /// MaxCmdSN, for the header of every PDU to the initiator.
    #[must_use]
    pub const fn max_cmd_sn(&self) -> CmdSn {
        self.max_cmd_sn
    }

    /// How many commands the window takes in all.
    #[must_use]
    pub const fn depth(&self) -> u32 {
        self.depth
    }

    /// How many more commands the initiator may send now.
    #[must_use]
    pub fn room(&self) -> u32 {
        let open = self.max_cmd_sn.next().distance_from(self.exp_cmd_sn);
        open.saturating_sub(u32::try_from(self.ahead.len()).unwrap_or(u32::MAX))
    }

    /// Takes the CmdSN of a command and says what to do with the command.
    ///
    /// An immediate command is delivered at once whatever its number, and takes no place: its CmdSN is that of the next
    /// command that is not immediate (RFC 7143 §4.2.2.1). How many of them are taken is the session's limit.
    pub fn arrive(&mut self, cmd_sn: CmdSn, immediate: bool) -> Arrival {
        if immediate {
            return Arrival::Deliver;
        }
        if cmd_sn == self.exp_cmd_sn && self.max_cmd_sn >= cmd_sn {
            self.exp_cmd_sn = cmd_sn.next();
            return Arrival::Deliver;
        }
        if cmd_sn > self.max_cmd_sn {
            return Arrival::OutOfWindow;
        }
        if cmd_sn > self.exp_cmd_sn {
            return if self.ahead.insert(cmd_sn) { Arrival::Future } else { Arrival::Duplicate };
        }
        // Numbers half the space away have no order: they are in no window.
        if cmd_sn < self.exp_cmd_sn { Arrival::Duplicate } else { Arrival::OutOfWindow }
    }

    /// The next command that waited for its turn and has it now; to be called until `None` after each
    /// [`Arrival::Deliver`].
    pub fn release(&mut self) -> Option<CmdSn> {
        let next = self.exp_cmd_sn;
        self.ahead.remove(&next).then(|| self.exp_cmd_sn.advance())
    }

    /// Forgets a number that arrived ahead of its turn: the command was lost with its connection, and the initiator may send it
    /// again (RFC 7143 §7.2.1).
    pub fn forget(&mut self, cmd_sn: CmdSn) {
        self.ahead.remove(&cmd_sn);
    }

    /// Lets one more command in, for one that is finished. More calls than delivered commands have no effect.
    pub fn reopen(&mut self) {
        let open = self.max_cmd_sn.next().distance_from(self.exp_cmd_sn);
        if open < self.depth {
            self.max_cmd_sn = self.max_cmd_sn.next();
        }
    }
}

#[cfg(test)]
mod tests;
