//! The rules of persistent reservations as an independent model.
//!
//! Written from the tables of SPC-4 §5.13, it shares no code and no shape with the implementation: nexuses are numbers, keys are small
//! numbers, a reservation is a type and its holder. It names nothing of any crate, since two of them judge by it.

use std::collections::BTreeSet;

/// Nodes that there are.
pub(crate) const NODES: u8 = 3;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Model {
    /// By node; zero where it is not registered.
    pub(crate) keys: [u64; NODES as usize],
    /// Type, and the holder, or none for the types that all registrants hold.
    pub(crate) held: Option<(u8, Option<u8>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Says {
    pub(crate) next: Model,
    pub(crate) counts: bool,
    /// Unit attentions.
    pub(crate) told: BTreeSet<(u8, u16)>,
    /// Whose commands are aborted.
    pub(crate) aborted: BTreeSet<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good(Says),
    Conflict,
    /// Additional sense code and qualifier.
    Check(u16),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) from: u8,
    pub(crate) action: u8,
    pub(crate) kind: u8,
    pub(crate) key: u64,
    pub(crate) other: u64,
    /// Destination and UNREG of REGISTER AND MOVE.
    pub(crate) to: u8,
    pub(crate) unregister: bool,
}

impl Model {
    fn registered(&self) -> Vec<u8> {
        (0..NODES).filter(|&node| self.keys[usize::from(node)] != 0).collect()
    }

    pub(crate) fn key(&self, node: u8) -> u64 {
        self.keys[usize::from(node)]
    }

    fn holder(&self, node: u8) -> bool {
        match self.held {
            Some((_, Some(holder))) => holder == node,
            Some((_, None)) => self.key(node) != 0,
            None => false,
        }
    }

    fn set(&mut self, kind: u8, node: u8) {
        self.held = Some((kind, if kind < 7 { Some(node) } else { None }));
    }

    pub(crate) fn answer(&self, ask: Ask) -> Verdict {
        let me = ask.from;
        let mine = self.key(me);
        let mut says =
            Says { next: self.clone(), counts: true, told: BTreeSet::new(), aborted: BTreeSet::new() };
        let others: Vec<u8> = self.registered().into_iter().filter(|&node| node != me).collect();
        // Table "REGISTER": an unregistered nexus must give 0, a registered one its key. Other service actions, but for
        // REGISTER AND IGNORE EXISTING KEY, need a registration and its key.
        match ask.action {
            0 if ask.key != mine => return Verdict::Conflict,
            7 if mine == 0 => {
                return if self.held.is_some() { Verdict::Conflict } else { Verdict::Check(0x2400) };
            }
            1..=5 | 7 if mine == 0 || ask.key != mine => return Verdict::Conflict,
            _ => {}
        }
        match ask.action {
            0 | 6 => {
                says.next.keys[usize::from(me)] = ask.other;
                if ask.other == 0 && mine != 0 {
                    match self.held {
                        Some((kind, Some(holder))) if holder == me => {
                            says.next.held = None;
                            if kind >= 5 {
                                says.told = others.iter().map(|&node| (node, 0x2a04)).collect();
                            }
                        }
                        Some((_, None)) if others.is_empty() => says.next.held = None,
                        _ => {}
                    }
                }
            }
            1 => {
                says.counts = false;
                match self.held {
                    None => says.next.set(ask.kind, me),
                    Some((kind, _)) if kind == ask.kind && self.holder(me) => {}
                    Some(_) => return Verdict::Conflict,
                }
            }
            2 => {
                says.counts = false;
                if let Some((kind, _)) = self.held.filter(|_| self.holder(me)) {
                    if kind != ask.kind {
                        return Verdict::Check(0x2604);
                    }
                    says.next.held = None;
                    if kind >= 5 {
                        says.told = others.iter().map(|&node| (node, 0x2a04)).collect();
                    }
                }
            }
            3 => {
                says.next = Model::default();
                says.told = others.iter().map(|&node| (node, 0x2a03)).collect();
            }
            4 | 5 => return self.preempt(ask, says),
            7 => {
                if ask.other == 0 {
                    return Verdict::Check(0x2600);
                }
                let Some((kind, holder)) = self.held else { return Verdict::Check(0x2400) };
                if holder != Some(me) {
                    return Verdict::Conflict;
                }
                if ask.to == me {
                    return Verdict::Check(0x2600);
                }
                says.next.keys[usize::from(ask.to)] = ask.other;
                says.next.held = Some((kind, Some(ask.to)));
                if ask.unregister {
                    says.next.keys[usize::from(me)] = 0;
                }
            }
            _ => unreachable!(),
        }
        Verdict::Good(says)
    }

    fn preempt(&self, ask: Ask, mut says: Says) -> Verdict {
        let me = ask.from;
        let with_key: Vec<u8> =
            self.registered().into_iter().filter(|&node| self.key(node) == ask.other).collect();
        // (whose registrations end, whose commands a PREEMPT AND ABORT ends, whether the sender becomes the holder)
        let (gone, victims, takes): (Vec<u8>, Vec<u8>, bool) = match self.held {
            Some((_, None)) if ask.other == 0 => {
                let all: Vec<u8> = self.registered().into_iter().filter(|&node| node != me).collect();
                (all.clone(), all, true)
            }
            _ if ask.other == 0 => return Verdict::Check(0x2600),
            _ if with_key.is_empty() => return Verdict::Conflict,
            Some((_, Some(holder))) if self.key(holder) == ask.other => {
                (with_key.iter().copied().filter(|&node| node != me).collect(), with_key, true)
            }
            Some((_, None)) => {
                (with_key.iter().copied().filter(|&node| node != me).collect(), with_key, false)
            }
            _ => (with_key.clone(), with_key, false),
        };
        for &node in &gone {
            says.next.keys[usize::from(node)] = 0;
            if node != me {
                says.told.insert((node, 0x2a05));
            }
        }
        if takes {
            let old = self.held.map(|(kind, _)| kind);
            says.next.set(ask.kind, me);
            if old != Some(ask.kind) {
                let rest = says.next.registered().into_iter().filter(|&node| node != me);
                says.told.extend(rest.map(|node| (node, 0x2a04)));
            }
        }
        if ask.action == 5 {
            says.aborted = victims.into_iter().collect();
        }
        Verdict::Good(says)
    }
}
