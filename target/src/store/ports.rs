//! Relative target port identifiers: one number for each target port of the server, kept with every LUN that the port leads to.
//!
//! READ FULL STATUS and REGISTER AND MOVE name a target port by this number alone (SPC-4 §6.15.5, §6.16.4), so where one LUN is
//! exported by several targets or portal groups their ports need different numbers, and a number must not come to mean another
//! port while registrations refer to it.
//!
//! A port that is new gets its portal group tag, when that is free: with a single target the two are the same. Numbers of ports that
//! are not served any more stay taken as long as a LUN remembers them.

use std::collections::{BTreeMap, BTreeSet};

use lunkeep_common::name::{PortalGroupTag, TargetPort};
use serde::{Deserialize, Serialize};

use super::record;

/// A target port and its number.
type Numbered = (TargetPort, u16);

/// Relative target port identifiers by target port. No two ports have the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortNumbers(BTreeMap<TargetPort, u16>);

/// There are more target ports than relative target port identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there are more than 65535 target ports (targets times portal groups), those that are remembered included: \
     serve fewer targets or portal groups"
)]
pub struct TooManyPorts;

impl PortNumbers {
    /// The number of a port, 1 to 65535.
    #[must_use]
    pub fn of(&self, port: &TargetPort) -> Option<u16> {
        self.0.get(port).copied()
    }

    /// All ports with their numbers, in the order of the ports.
    pub fn iter(&self) -> impl Iterator<Item = (&TargetPort, u16)> {
        self.0.iter().map(|(port, number)| (port, *number))
    }

    /// Takes over numbers that are known from before. A port that has a number keeps it, and a number that is taken goes to nobody
    /// else: ports that came together from different servers may get another one.
    pub fn adopt(&mut self, known: impl IntoIterator<Item = Numbered>) {
        let mut taken: BTreeSet<u16> = self.0.values().copied().collect();
        for (port, number) in known {
            if number != 0 && !self.0.contains_key(&port) && taken.insert(number) {
                self.0.insert(port, number);
            }
        }
    }

    /// Gives every port that has no number one: its portal group tag when that is free, otherwise the lowest that is.
    ///
    /// # Errors
    /// [`TooManyPorts`]; then some ports have none.
    pub fn assign(&mut self, ports: impl IntoIterator<Item = TargetPort>) -> Result<(), TooManyPorts> {
        let mut taken: BTreeSet<u16> = self.0.values().copied().collect();
        let mut lowest = 1..=u16::MAX;
        for port in ports {
            if self.0.contains_key(&port) {
                continue;
            }
            let tag = Some(port.portal_group.0).filter(|tag| *tag != 0 && !taken.contains(tag));
            let number = tag.or_else(|| lowest.find(|number| !taken.contains(number))).ok_or(TooManyPorts)?;
            taken.insert(number);
            self.0.insert(port, number);
        }
        Ok(())
    }

    /// Those of these ports only.
    #[must_use]
    pub fn only(&self, ports: &BTreeSet<TargetPort>) -> Self {
        let kept = self.0.iter().filter(|(port, _)| ports.contains(port));
        Self(kept.map(|(port, number)| (port.clone(), *number)).collect())
    }
}

/// The ports of one LUN, as kept in `ports.json` of its state folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptPorts {
    ports: Vec<KeptPort>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptPort {
    target: String,
    portal_group: u16,
    relative_target_port: u16,
}

impl record::Record for KeptPorts {
    const KIND: &'static str = "target ports";
    const VERSION: u32 = 1;
}

impl KeptPorts {
    pub(super) fn new(numbers: &PortNumbers) -> Self {
        let kept = numbers.iter().map(|(port, number)| KeptPort {
            target: port.name.to_string(),
            portal_group: port.portal_group.0,
            relative_target_port: number,
        });
        Self { ports: kept.collect() }
    }

    /// What contradicts itself is damaged, however good its checksum.
    pub(super) fn numbers(&self) -> Result<PortNumbers, String> {
        let mut numbers = PortNumbers::default();
        for kept in &self.ports {
            let name = kept.target.parse().map_err(|error| format!("{:?}: {error}", kept.target))?;
            let port = TargetPort { name, portal_group: PortalGroupTag(kept.portal_group) };
            numbers.adopt([(port.clone(), kept.relative_target_port)]);
            if numbers.of(&port) != Some(kept.relative_target_port) {
                return Err(format!(
                    "{} and portal group {} are there twice",
                    kept.target, kept.portal_group
                ));
            }
        }
        if numbers.0.len() != self.ports.len() {
            return Err("a target port is there twice".into());
        }
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, group: u16) -> TargetPort {
        let name = format!("iqn.2026-11.org.example:{name}").parse().unwrap();
        TargetPort { name, portal_group: PortalGroupTag(group) }
    }

    fn numbers(numbers: &PortNumbers) -> Vec<u16> {
        numbers.iter().map(|(_, number)| number).collect()
    }

    #[test]
    fn ports_get_their_portal_group_tag_when_it_is_free_and_the_lowest_number_otherwise() {
        let mut all = PortNumbers::default();
        let ports = [port("a", 1), port("a", 7), port("b", 1), port("b", 7)];
        all.assign(ports.clone()).unwrap();
        assert_eq!(numbers(&all), [1, 7, 2, 3]);
        all.assign(ports).unwrap();
        assert_eq!(numbers(&all), [1, 7, 2, 3]);
    }

    #[test]
    fn a_known_number_is_kept_and_one_that_is_taken_goes_to_nobody_else() {
        let mut all = PortNumbers::default();
        all.adopt([(port("b", 1), 1), (port("gone", 1), 2)]);
        all.adopt([(port("b", 1), 9), (port("c", 1), 1), (port("d", 1), 0)]);
        all.assign([port("a", 1), port("b", 1), port("c", 2)]).unwrap();
        assert_eq!(all.of(&port("b", 1)), Some(1));
        assert_eq!((all.of(&port("a", 1)), all.of(&port("c", 2))), (Some(3), Some(4)));
        assert_eq!((all.of(&port("c", 1)), all.of(&port("d", 1))), (None, None));
    }

    #[test]
    fn the_last_number_is_given_and_no_number_after_it() {
        let mut all = PortNumbers::default();
        all.assign((1..=u16::MAX).map(|group| port("a", group))).unwrap();
        assert_eq!(all.of(&port("a", u16::MAX)), Some(u16::MAX));
        assert_eq!(all.assign([port("b", 1)]), Err(TooManyPorts));
    }

    #[test]
    fn what_is_kept_is_found_again_and_contradictions_are_damage() {
        let mut all = PortNumbers::default();
        all.assign([port("a", 1), port("b", 1)]).unwrap();
        let kept = KeptPorts::new(&all);
        assert_eq!(kept.numbers(), Ok(all));
        for (group, relative) in [(1, 1), (2, 1), (1, 9), (2, 0)] {
            let mut twice = kept.clone();
            let target = twice.ports[0].target.clone();
            twice.ports.push(KeptPort { target, portal_group: group, relative_target_port: relative });
            assert!(twice.numbers().is_err(), "{group} {relative}");
        }
    }
}
