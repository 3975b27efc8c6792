//! How much of a file is read, told to whoever waits for it.

/// Tells percent. A reader of something inside something else gets the part of the scale that is its own.
#[derive(Clone, Copy)]
pub struct Meter<'a> {
    tell: &'a dyn Fn(u8),
    from: f32,
    to: f32,
}

impl<'a> Meter<'a> {
    /// The whole scale, told to this function; the same number may come several times.
    pub fn new(tell: &'a dyn Fn(u8)) -> Self {
        Self {
            tell,
            from: 0.0,
            to: 100.0,
        }
    }

    /// For whoever does not wait.
    pub fn silent() -> Meter<'static> {
        Meter::new(&|_| ())
    }

    /// So many parts of all are done.
    pub(super) fn at(self, done: usize, of: usize) {
        // Between 0 and 100.
        (self.tell)(self.share(done, of) as u8);
    }

    /// The scale of one part of all, counted from 0.
    pub(super) fn part(self, number: usize, of: usize) -> Self {
        Self {
            from: self.share(number, of),
            to: self.share(number + 1, of),
            ..self
        }
    }

    fn share(self, done: usize, of: usize) -> f32 {
        let share = done.min(of) as f32 / of.max(1) as f32;
        self.from + (self.to - self.from) * share
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_part_of_a_part_has_its_own_scale() {
        let told = RefCell::new(Vec::new());
        let tell = |percent| told.borrow_mut().push(percent);
        let meter = Meter::new(&tell);
        meter.at(1, 4);
        let second = meter.part(1, 2);
        second.at(0, 5);
        second.part(4, 5).at(1, 2);
        second.at(9, 5);
        meter.at(0, 0);
        assert_eq!(*told.borrow(), [25, 50, 95, 100, 0]);
    }
}
