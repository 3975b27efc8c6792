//! People of meetings, as tests name them.

/// The name and the address of `Dana Ruiz <dana@northgate.example>`; no address where none is told.
pub(crate) fn name_and_address(person: &str) -> (&str, &str) {
    let parts = person.split_once(" <");
    parts.map_or((person, ""), |(name, rest)| {
        (name, rest.trim_end_matches('>'))
    })
}
