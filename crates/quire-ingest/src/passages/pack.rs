//! Packs pieces into passages, section by section.

use super::PassageOptions;
use super::split::Unit;
use crate::extract::BlockKind;

/// Sizes in weighted characters, made consistent.
#[derive(Clone, Debug)]
pub(super) struct Sizes {
    pub(super) enough: u32,
    pub(super) max: u32,
    pub(super) min: u32,
    pub(super) overlap: u32,
    /// Longer blocks are cut; leaves room for a heading and an overlap in front of a piece.
    pub(super) piece_max: u32,
    /// The size of pieces to aim at.
    pub(super) piece: u32,
}

impl Sizes {
    pub(super) fn new(options: &PassageOptions) -> Self {
        let enough = options.enough_chars.clamp(16, 1 << 20);
        let max = options.max_chars.clamp(enough + enough / 4, 1 << 21);
        let overlap = options.overlap_chars.min(max / 4);
        let piece_max = max - overlap;
        Self {
            enough,
            max,
            min: options.min_chars.min(enough),
            overlap,
            piece_max,
            piece: piece_max / 3 * 2,
        }
    }
}

/// The units of one passage: `start..end`, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) start: usize,
    pub(super) end: usize,
    weight: u32,
    /// Whether it begins in the middle of a paragraph and repeats a sentence.
    pub(super) overlaps: bool,
}

pub(super) fn groups(units: &[Unit], sizes: &Sizes) -> Vec<Group> {
    let mut packer = Packer {
        units,
        sizes,
        done: Vec::new(),
        open: None,
    };
    for (at, unit) in units.iter().enumerate() {
        if packer.ends_region(at) {
            packer.end_region();
        } else if is_heading(unit) {
            packer.end_section(at);
        }
        packer.add(at);
    }
    if let Some(last) = packer.open.take() {
        packer.close_tail(last);
    }
    packer.done
}

struct Packer<'a> {
    units: &'a [Unit],
    sizes: &'a Sizes,
    done: Vec<Group>,
    open: Option<Group>,
}

impl Packer<'_> {
    fn add(&mut self, at: usize) {
        let Some(open) = self.open.take() else {
            self.open = Some(self.begin(at));
            return;
        };
        let joined = self.joined(&open, at);
        let is_full = joined > self.sizes.max || open.weight >= self.sizes.enough;
        if !is_full {
            self.open = Some(Group {
                end: at + 1,
                weight: joined,
                ..open
            });
            return;
        }
        self.open = Some(match self.close_before_headings(open) {
            Some(headings) if self.joined(&headings, at) <= self.sizes.max => Group {
                end: at + 1,
                weight: self.joined(&headings, at),
                ..headings
            },
            Some(headings) => {
                self.done.push(headings);
                self.begin(at)
            }
            None => self.begin(at),
        });
    }

    fn ends_region(&self, at: usize) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| self.units[open.start].region != self.units[at].region)
    }

    fn end_region(&mut self) {
        if let Some(open) = self.open.take() {
            self.close_tail(open);
        }
    }

    /// Decides at a heading whether what is open ends here, or shares a passage with the next section.
    fn end_section(&mut self, heading: usize) {
        let Some(open) = self.open.take() else { return };
        let only_headings = self.units[open.start..open.end].iter().all(is_heading);
        let next = self.section_weight(heading);
        let fits = open.weight.saturating_add(next) <= self.sizes.enough;
        let is_tiny = |weight: u32| weight < self.sizes.min;
        let are_neighbours_tiny = is_tiny(next) && is_tiny(self.last_section_weight(&open));
        let joins = open.weight < self.sizes.min / 4
            || (fits && (is_tiny(open.weight) || are_neighbours_tiny));
        if only_headings || (joins && is_heading(&self.units[open.start])) {
            self.open = Some(open);
        } else {
            self.close_tail(open);
        }
    }

    /// Closes a group; the last lines of a section join the passage before them if they fit.
    fn close_tail(&mut self, open: Group) {
        let starts_section = is_heading(&self.units[open.start]);
        if open.weight < self.sizes.min
            && !starts_section
            && let Some(before) = self.done.last_mut()
            && self.units[before.start].region == self.units[open.start].region
        {
            let gap = self.units[open.start]
                .start
                .saturating_sub(self.units[before.end - 1].end);
            let joined = before
                .weight
                .saturating_add(gap)
                .saturating_add(open.weight);
            if joined <= self.sizes.max {
                (before.end, before.weight) = (open.end, joined);
                return;
            }
        }
        self.done.push(open);
    }

    /// Closes a group, but hands back headings at its end: they belong to what follows.
    fn close_before_headings(&mut self, open: Group) -> Option<Group> {
        let trailing = self.units[open.start..open.end]
            .iter()
            .rev()
            .take_while(|unit| is_heading(unit))
            .count();
        let cut = open.end - trailing;
        if trailing == 0 || cut == open.start {
            self.done.push(open);
            return None;
        }
        let headings = (cut + 1..open.end).fold(self.begin(cut), |group, at| Group {
            end: at + 1,
            weight: self.joined(&group, at),
            ..group
        });
        let weight = open.weight.saturating_sub(headings.weight);
        self.done.push(Group {
            end: cut,
            weight,
            ..open
        });
        Some(headings)
    }

    fn begin(&self, at: usize) -> Group {
        let unit = &self.units[at];
        let overlaps = unit.overlap_start < unit.start;
        let weight = unit.weight + if overlaps { unit.overlap_weight } else { 0 };
        Group {
            start: at,
            end: at + 1,
            weight,
            overlaps,
        }
    }

    fn joined(&self, group: &Group, at: usize) -> u32 {
        let gap = self.units[at]
            .start
            .saturating_sub(self.units[group.end - 1].end);
        group
            .weight
            .saturating_add(gap)
            .saturating_add(self.units[at].weight)
    }

    /// The weight of what a group holds below its last heading.
    fn last_section_weight(&self, group: &Group) -> u32 {
        let units = self.units[group.start..group.end].iter().rev();
        units
            .take_while(|unit| !is_heading(unit))
            .fold(0, |sum, unit| sum.saturating_add(unit.weight))
    }

    /// The weight of the section that a heading opens, as far as it matters.
    fn section_weight(&self, heading: usize) -> u32 {
        let mut weight = self.units[heading].weight;
        for unit in self.units[heading + 1..]
            .iter()
            .take_while(|unit| !is_heading(unit) && unit.region == self.units[heading].region)
        {
            weight = weight.saturating_add(unit.weight);
            if weight > self.sizes.enough {
                break;
            }
        }
        weight
    }
}

fn is_heading(unit: &Unit) -> bool {
    matches!(unit.kind, BlockKind::Heading(_))
}
