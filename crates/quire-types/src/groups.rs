//! Groups of people: who sees a source. Knows no person; a tenant says which groups somebody is in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names of groups, as the tenant or an account elsewhere calls them: lower case, each once, in order. Somebody's
/// address is a group of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Groups(Vec<String>);

/// A list that names no groups.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadGroups {
    /// A name that can't be told in a header.
    #[error(
        "'{0}' is no name of a group: use 1 to 128 letters, digits and signs of ASCII, no comma"
    )]
    Name(String),
    /// Too many names.
    #[error("{0} groups are more than {max}: put people into fewer, larger ones", max = Groups::MOST)]
    Many(usize),
}

impl Groups {
    /// The most groups of one source or caller.
    pub const MOST: usize = 500;

    /// These groups.
    ///
    /// # Errors
    /// A name that is none, or too many.
    pub fn new<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Result<Self, BadGroups> {
        let names: Result<Vec<String>, BadGroups> = names
            .into_iter()
            .map(|name| name_of(name.as_ref()))
            .collect();
        let groups = Self::sorted(names?);
        match groups.0.len() {
            0..=Self::MOST => Ok(groups),
            many => Err(BadGroups::Many(many)),
        }
    }

    /// Groups with commas between them; an empty text names none.
    ///
    /// # Errors
    /// A name that is none, or too many.
    pub fn parse(text: &str) -> Result<Self, BadGroups> {
        let names = text.split(',').map(str::trim);
        Self::new(names.filter(|name| !name.is_empty()))
    }

    /// Those of the names that can be groups, as many as there may be. Whoever is left out sees less, never more.
    pub fn usable<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Self {
        let names = names.into_iter();
        let names = names.filter_map(|name| name_of(name.as_ref()).ok());
        let mut groups = Self::sorted(names.collect());
        groups.0.truncate(Self::MOST);
        groups
    }

    fn sorted(mut names: Vec<String>) -> Self {
        names.sort_unstable();
        names.dedup();
        Self(names)
    }

    /// The names, in order.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Whether a group is in both.
    pub fn meet(&self, other: &Self) -> bool {
        let (few, many) = match self.0.len() <= other.0.len() {
            true => (self, other),
            false => (other, self),
        };
        few.0.iter().any(|name| many.0.binary_search(name).is_ok())
    }

    /// Those that are in both.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        let names = self.0.iter();
        Self(
            names
                .filter(|name| other.0.binary_search(name).is_ok())
                .cloned()
                .collect(),
        )
    }

    /// What the names take in memory, about.
    pub fn bytes(&self) -> usize {
        self.0
            .iter()
            .map(|name| name.len() + size_of::<String>())
            .sum()
    }
}

/// A name as it is compared: people write addresses in any case.
fn name_of(name: &str) -> Result<String, BadGroups> {
    let name = name.trim();
    let is_sign = |byte: u8| (byte.is_ascii_graphic() || byte == b' ') && byte != b',';
    match (1..=128).contains(&name.len()) && name.bytes().all(is_sign) {
        true => Ok(name.to_ascii_lowercase()),
        false => Err(BadGroups::Name(
            name.chars()
                .take(128)
                .flat_map(char::escape_default)
                .collect(),
        )),
    }
}

impl TryFrom<Vec<String>> for Groups {
    type Error = BadGroups;

    fn try_from(names: Vec<String>) -> Result<Self, BadGroups> {
        Self::new(names)
    }
}

impl From<Groups> for Vec<String> {
    fn from(groups: Groups) -> Self {
        groups.0
    }
}

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_and_order() {
        let one = Groups::parse(" Field Crew, dana@Northgate.example ,field crew,");
        let two = Groups::new(["dana@northgate.example", "FIELD CREW"]);
        assert_eq!(one, two);
        assert_eq!(Groups::parse(""), Ok(Groups::default()));
        for bad in ["a\nb", "Büro", &"x".repeat(129)] {
            assert!(Groups::parse(bad).is_err(), "{bad}");
        }
        assert!(Groups::new(["a,b"]).is_err() && Groups::new([""]).is_err());
        let many: Vec<String> = (0..=Groups::MOST).map(|at| at.to_string()).collect();
        assert_eq!(Groups::new(&many), Err(BadGroups::Many(Groups::MOST + 1)));
        let usable = Groups::usable(["Büro", "a,b", "Crew"]);
        assert_eq!(Ok(usable), Groups::parse("crew"));
    }

    #[test]
    fn sets_meet_in_what_is_common() {
        for (one, two, common) in [
            ("", "", ""),
            ("a,b", "", ""),
            ("a,b", "c", ""),
            ("a,b,c", "c,a", "a,c"),
        ] {
            let [one, two, common] = [one, two, common].map(Groups::parse);
            let (one, two) = (one.unwrap_or_default(), two.unwrap_or_default());
            assert_eq!(Ok(one.common(&two)), common);
            assert_eq!(one.meet(&two), !one.common(&two).names().is_empty());
            assert_eq!(two.meet(&one), one.meet(&two));
        }
    }
}
