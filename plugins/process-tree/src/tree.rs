//! Who started whom, and which of them are shown.

use std::collections::HashMap;

use crate::process::Process;

/// Levels of indent that are drawn; what is deeper stands at the last one.
const MOST_LEVELS: usize = 16;

/// Lines of ancestors that may turn out too long before no more is tried.
const MOST_MISSES: usize = 1_000;

/// Processes as a forest.
#[derive(Debug)]
pub(crate) struct Forest {
    /// For each process its parent's place.
    parents: Vec<Option<usize>>,
    /// For each process its children's places, the oldest first.
    children: Vec<Vec<usize>>,
    roots: Vec<usize>,
}

/// A line of the picture.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Which process.
    pub(crate) place: usize,
    /// What is drawn before its name.
    pub(crate) indent: String,
}

impl Forest {
    /// Finds everybody's parent. A process that began after its child is not its parent, but a later owner of the same
    /// id. A circle, which no honest list has, is cut at one of its members.
    pub(crate) fn new(processes: &[Process]) -> Self {
        // The owners of each id, those of unknown age first, then from the oldest to the youngest.
        let mut owners: HashMap<u64, Vec<(Option<i64>, usize)>> = HashMap::new();
        for (place, process) in processes.iter().enumerate() {
            owners.entry(process.pid).or_default().push((process.since, place));
        }
        for owners in owners.values_mut() {
            owners.sort_unstable();
        }
        let mut parents: Vec<Option<usize>> = processes
            .iter()
            .enumerate()
            .map(|(place, child)| {
                let owners = owners.get(&child.parent?)?;
                // Of several the last one before the child; of a child without an age the last one of all.
                let end = match child.since {
                    Some(_) => owners.partition_point(|(since, _)| *since <= child.since),
                    None => owners.len(),
                };
                owners.iter().take(end).rev().map(|(_, owner)| *owner).find(|owner| *owner != place)
            })
            .collect();
        cut_circles(&mut parents);
        let mut children = vec![Vec::new(); processes.len()];
        let mut roots = Vec::new();
        for (place, parent) in parents.iter().enumerate() {
            match parent.and_then(|parent| children.get_mut(parent)) {
                Some(siblings) => siblings.push(place),
                None => roots.push(place),
            }
        }
        let age = |place: &usize| processes.get(*place).map(|process| (process.since, process.pid));
        for siblings in children.iter_mut().chain([&mut roots]) {
            siblings.sort_by_key(age);
        }
        Self { parents, children, roots }
    }

    /// The place of a process's parent.
    pub(crate) fn parent(&self, place: usize) -> Option<usize> {
        self.parents.get(place).copied().flatten()
    }

    /// Chooses at most so many: first those that are notable with all their ancestors, then their children, then the
    /// others from the roots downwards. Whoever is shown, so is its parent.
    pub(crate) fn choose(&self, notable: &[usize], most: usize) -> Vec<bool> {
        let mut choice = Choice { chosen: vec![false; self.parents.len()], left: most };
        let (mut kept, mut too_long) = (Vec::new(), 0);
        for place in notable {
            // Up to the first ancestor that is shown already. A line too long to be shown whole is not begun.
            let line: Vec<usize> = std::iter::successors(Some(*place), |place| self.parent(*place))
                .take_while(|place| !choice.has(*place))
                .take(choice.left + 1)
                .collect();
            if line.len() <= choice.left {
                for place in line {
                    choice.take(place);
                }
                kept.push(*place);
            } else {
                too_long += 1;
                if too_long > MOST_MISSES {
                    break;
                }
            }
        }
        for child in kept.iter().filter_map(|place| self.children.get(*place)).flatten() {
            choice.take(*child);
        }
        let mut level = self.roots.clone();
        while !level.is_empty() && choice.left > 0 {
            let mut below = Vec::new();
            for place in level {
                if choice.take(place) {
                    below.extend(self.children.get(place).into_iter().flatten().copied());
                }
            }
            level = below;
        }
        choice.chosen
    }

    /// The picture of the chosen ones, from top to bottom.
    pub(crate) fn draw(&self, chosen: &[bool]) -> Vec<Line> {
        let is_chosen = |place: &usize| chosen.get(*place).copied().unwrap_or(false);
        let mut lines = Vec::new();
        // Each with what is drawn before its children; a depth of a thousand costs no stack.
        let mut waiting: Vec<(usize, String, String, usize)> = self
            .roots
            .iter()
            .rev()
            .filter(|place| is_chosen(place))
            .map(|place| (*place, String::new(), String::new(), 0))
            .collect();
        while let Some((place, indent, below, level)) = waiting.pop() {
            let children: Vec<usize> =
                self.children.get(place).into_iter().flatten().copied().filter(|place| is_chosen(place)).collect();
            for (number, child) in children.iter().enumerate().rev() {
                let is_last = number + 1 == children.len();
                let (own, next) = match (level < MOST_LEVELS, is_last) {
                    (true, true) => (format!("{below}└─ "), format!("{below}   ")),
                    (true, false) => (format!("{below}├─ "), format!("{below}│  ")),
                    (false, _) => (format!("{below}⋯ "), below.clone()),
                };
                waiting.push((*child, own, next, level + 1));
            }
            lines.push(Line { place, indent });
        }
        lines
    }
}

/// Who is shown so far, and how many more can be.
struct Choice {
    chosen: Vec<bool>,
    left: usize,
}

impl Choice {
    fn has(&self, place: usize) -> bool {
        self.chosen.get(place).copied().unwrap_or(false)
    }

    /// Whether the process is shown, be it from now on.
    fn take(&mut self, place: usize) -> bool {
        match self.chosen.get_mut(place) {
            Some(taken) if *taken => true,
            Some(taken) if self.left > 0 => {
                *taken = true;
                self.left -= 1;
                true
            }
            _ => false,
        }
    }
}

fn cut_circles(parents: &mut [Option<usize>]) {
    /// What is known of a process.
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        OnTheWay,
        Done,
    }
    let mut marks = vec![Mark::New; parents.len()];
    for start in 0..parents.len() {
        let (mut way, mut next) = (Vec::new(), Some(start));
        while let Some(place) = next {
            match marks.get_mut(place) {
                Some(mark) if *mark == Mark::New => *mark = Mark::OnTheWay,
                Some(mark) if *mark == Mark::OnTheWay => {
                    if let Some(parent) = parents.get_mut(place) {
                        *parent = None;
                    }
                    break;
                }
                _ => break,
            }
            way.push(place);
            next = parents.get(place).copied().flatten();
        }
        for place in way {
            if let Some(mark) = marks.get_mut(place) {
                *mark = Mark::Done;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processes by id, parent and time.
    fn processes(list: &[(u64, u64, Option<i64>)]) -> Vec<Process> {
        list.iter()
            .map(|(pid, parent, since)| Process {
                pid: *pid,
                parent: Some(*parent),
                since: *since,
                ..Process::default()
            })
            .collect()
    }

    fn picture(processes: &[Process], notable: &[usize], most: usize) -> Vec<String> {
        let forest = Forest::new(processes);
        let chosen = forest.choose(notable, most);
        forest.draw(&chosen).iter().map(|line| format!("{}{}", line.indent, processes[line.place].pid)).collect()
    }

    #[test]
    fn a_tree_is_drawn() {
        let list = processes(&[(1, 0, None), (2, 1, None), (3, 2, None), (4, 1, None), (5, 9, None)]);
        assert_eq!(picture(&list, &[], 99), ["1", "├─ 2", "│  └─ 3", "└─ 4", "5"]);
    }

    #[test]
    fn a_later_owner_of_an_id_is_no_parent() {
        let list = processes(&[(7, 0, Some(50)), (8, 7, Some(40)), (7, 0, Some(10)), (9, 7, Some(60))]);
        assert_eq!(picture(&list, &[], 99), ["7", "└─ 8", "7", "└─ 9"]);
        let list = processes(&[(7, 0, Some(50)), (8, 7, Some(40))]);
        assert_eq!(picture(&list, &[], 99), ["8", "7"]);
    }

    #[test]
    fn circles_are_cut_and_nobody_is_lost() {
        let list = processes(&[(1, 3, None), (2, 1, None), (3, 2, None), (4, 4, None), (0, 0, None), (5, 2, None)]);
        let mut ids: Vec<String> = picture(&list, &[], 99)
            .iter()
            .map(|line| line.trim_start_matches(['├', '└', '│', '─', ' ']).to_owned())
            .collect();
        ids.sort();
        assert_eq!(ids, ["0", "1", "2", "3", "4", "5"]);
    }

    #[test]
    fn the_notable_are_shown_with_their_ancestors() {
        let mut list: Vec<(u64, u64, Option<i64>)> = (1..=1_000).map(|pid| (pid, 0, None)).collect();
        list.extend([(2_000, 900, None), (2_001, 2_000, None), (2_002, 2_001, None)]);
        let list = processes(&list);
        assert_eq!(picture(&list, &[1_001], 5), ["1", "900", "└─ 2000", "   └─ 2001", "      └─ 2002"]);
        assert_eq!(picture(&list, &[1_001], 3), ["900", "└─ 2000", "   └─ 2001"]);
        assert_eq!(picture(&list, &[1_001], 2), ["1", "2"]);
        assert_eq!(picture(&list, &[], 10).len(), 10);
    }

    #[test]
    fn lists_made_to_be_slow_are_not() {
        let twins = processes(&(0..40_000).map(|n| (7, 7, Some(n % 5))).collect::<Vec<_>>());
        let all: Vec<usize> = (0..40_000).collect();
        assert_eq!(picture(&twins, &all, 100).len(), 100);
        let chain = processes(&(1..=40_000).map(|pid| (pid, pid - 1, None)).collect::<Vec<_>>());
        let last: Vec<usize> = (20_000..40_000).collect();
        assert_eq!(picture(&chain, &last, 100).len(), 100);
    }

    #[test]
    fn a_chain_of_many_thousands_stays_flat() {
        let list = processes(&(1..=20_000).map(|pid| (pid, pid - 1, None)).collect::<Vec<_>>());
        let lines = picture(&list, &[], 20_000);
        assert_eq!(lines.len(), 20_000);
        assert!(lines.iter().all(|line| line.chars().count() < 70), "{:?}", lines.last());
    }
}
