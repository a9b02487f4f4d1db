//! The processes of the machine at one moment, and who belongs to whom.

use std::collections::{HashMap, HashSet};

/// One process that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) parent: u32,
    /// Its process group.
    pub(crate) group: u32,
    /// Bytes that it has in memory, shared ones included.
    pub(crate) resident: u64,
}

/// By their numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Processes(pub(crate) HashMap<u32, Process>);

impl Processes {
    /// Bytes that these have in memory, shared ones counted for each.
    pub(crate) fn resident(&self, family: &[u32]) -> u64 {
        family.iter().filter_map(|pid| self.0.get(pid)).map(|process| process.resident).sum()
    }

    /// All below a process, and all in process groups of theirs, without the process itself: whoever has lost its parent
    /// and stays in its group is found so.
    pub(crate) fn family(&self, root: u32) -> Vec<u32> {
        let (mut children, mut members) = (HashMap::<u32, Vec<u32>>::new(), HashMap::<u32, Vec<u32>>::new());
        for (pid, process) in &self.0 {
            children.entry(process.parent).or_default().push(*pid);
            members.entry(process.group).or_default().push(*pid);
        }
        // The root's own group is the family's only if it leads it: else others who started the root are in it too.
        let own = self.0.get(&root).map(|process| process.group);
        let (mut family, mut at) = (vec![root], 0);
        let mut seen = HashSet::from([root]);
        while let Some(pid) = family.get(at).copied() {
            at += 1;
            let group =
                self.0.get(&pid).map(|process| process.group).filter(|group| Some(*group) != own || *group == root);
            let mates = group.and_then(|group| members.remove(&group)).unwrap_or_default();
            let below = children.remove(&pid).unwrap_or_default();
            family.extend(below.into_iter().chain(mates).filter(|pid| seen.insert(*pid)));
        }
        family.remove(0);
        family
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_all_below_and_all_in_groups_of_theirs() {
        let process = |parent, group| Process { parent, group, resident: 0 };
        let table = Processes(HashMap::from([
            (1, process(0, 1)),
            (10, process(1, 10)),
            (11, process(10, 11)),
            (12, process(11, 12)),
            // Orphans, of the root's child and of a stranger.
            (13, process(1, 11)),
            (14, process(1, 14)),
            (15, process(14, 10)),
        ]));
        let family = |root| {
            let mut family = table.family(root);
            family.sort_unstable();
            family
        };
        assert_eq!(family(10), [11, 12, 13, 15], "it leads its group");
        assert_eq!(family(15), [0; 0], "the group is that of others");
        assert_eq!(family(99), [0; 0]);
    }
}
