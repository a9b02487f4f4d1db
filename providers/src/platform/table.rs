//! A snapshot of the machine's processes, and their families.

use std::collections::{BTreeSet, HashMap};

/// A process that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) parent: u32,
    /// The number of its process group.
    pub(crate) group: u32,
    /// Its resident memory in bytes, including shared memory.
    pub(crate) resident: u64,
}

/// The processes by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Processes(pub(crate) HashMap<u32, Process>);

impl Processes {
    /// The resident memory of these processes in bytes; shared memory is counted for each.
    pub(crate) fn resident(&self, family: &BTreeSet<u32>) -> u64 {
        family.iter().filter_map(|pid| self.0.get(pid)).map(|process| process.resident).sum()
    }

    /// All descendants of a process, and all members of their process groups, without the process itself. So a process
    /// is found that has lost its parent but is still in its group.
    pub(crate) fn family(&self, root: u32) -> BTreeSet<u32> {
        // The root's own group belongs to the family only if the root leads it: otherwise it also contains those that
        // started the root.
        let foreign = self.0.get(&root).map(|process| process.group).filter(|group| *group != root);
        let mut family = self.closure(vec![root], foreign);
        family.remove(&root);
        family
    }

    /// All members of a process group, their descendants, and the members of the descendants' groups, whether the
    /// group's leader is alive or not.
    pub(crate) fn group(&self, leader: u32) -> BTreeSet<u32> {
        let members = self.0.iter().filter(|(_, process)| process.group == leader).map(|(pid, _)| *pid);
        self.closure(members.collect(), None)
    }

    /// These processes, their descendants, and the members of all their groups except `but`.
    fn closure(&self, mut open: Vec<u32>, but: Option<u32>) -> BTreeSet<u32> {
        let (mut children, mut members) = (HashMap::<u32, Vec<u32>>::new(), HashMap::<u32, Vec<u32>>::new());
        for (pid, process) in &self.0 {
            children.entry(process.parent).or_default().push(*pid);
            members.entry(process.group).or_default().push(*pid);
        }
        if let Some(but) = but {
            members.remove(&but);
        }
        let mut found = BTreeSet::new();
        while let Some(pid) = open.pop() {
            if !found.insert(pid) {
                continue;
            }
            open.extend(children.remove(&pid).unwrap_or_default());
            let group = self.0.get(&pid).map(|process| process.group);
            open.extend(group.and_then(|group| members.remove(&group)).unwrap_or_default());
        }
        found
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
            // Orphans, of the root's child and of an unrelated process.
            (13, process(1, 11)),
            (14, process(1, 14)),
            (15, process(14, 10)),
        ]));
        assert_eq!(table.family(10), BTreeSet::from([11, 12, 13, 15]), "it leads its group");
        assert_eq!(table.family(15), BTreeSet::new(), "the group is that of others");
        assert_eq!(table.family(99), BTreeSet::new());
        assert_eq!(table.group(10), BTreeSet::from([10, 11, 12, 13, 15]));
        assert_eq!(table.group(11), BTreeSet::from([11, 12, 13]), "with all below");
        assert_eq!(table.group(99), BTreeSet::new());
    }

    #[test]
    fn a_group_without_its_leader_is_found_with_what_has_left_it() {
        let process = |parent, group| Process { parent, group, resident: 0 };
        // The leader, 10, has ended; 12 left the group of its parent, 13 that of another process that has ended too.
        let table = Processes(HashMap::from([(11, process(1, 10)), (12, process(11, 12)), (13, process(1, 13))]));
        assert_eq!(table.group(10), BTreeSet::from([11, 12]));
    }
}
