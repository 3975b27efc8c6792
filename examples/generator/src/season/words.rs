//! What people write into job software, in pieces.

pub(super) const WEATHER: [&str; 6] = [
    "Clear",
    "Overcast",
    "Light rain until ten",
    "Windy",
    "Hot and dry",
    "Fog in the morning",
];
pub(super) const WORK: [&str; 14] = [
    "Set forms along the north line and tied the steel.",
    "Poured the footings on the east side and covered them.",
    "Framed the partitions and set the door bucks.",
    "Ran conduit in the ceiling and pulled the home runs.",
    "Hung ductwork in the corridor and sealed the joints.",
    "Installed the air barrier on the south face.",
    "Laid up the back-up wall to the second lift.",
    "Roughed in the plumbing and held the test at ninety pounds.",
    "Flashed the openings and set the first windows.",
    "Taped the board and sanded the second coat.",
    "Placed stone under the slab and rolled it.",
    "Set the bar joists and welded the seats.",
    "Cut in the drains and backfilled the trench.",
    "Primed the stair and the railings.",
];
pub(super) const DELIVERIES: [&str; 7] = [
    "Steel studs",
    "Two loads of stone",
    "Door frames",
    "Insulation",
    "Drywall",
    "Conduit and boxes",
    "None",
];
pub(super) const SAFETY: [&str; 5] = [
    "Toolbox talk about ladders.",
    "Toolbox talk about silica.",
    "Harnesses were checked.",
    "A guard rail was put back.",
    "Nothing to report.",
];
pub(super) const AREAS: [&str; 8] = [
    "the entry",
    "the north stair",
    "the mechanical room",
    "the second floor",
    "the west wall",
    "the loading door",
    "the basement",
    "the roof",
];
pub(super) const TRADES: [&str; 6] = [
    "Carpentry",
    "Masonry",
    "Electrical",
    "Plumbing",
    "Drywall",
    "Painting",
];
pub(super) const TASKS: [&str; 12] = [
    "Lay out partitions in",
    "Order hardware for",
    "Close the inspection of",
    "Set the frames in",
    "Insulate",
    "Patch the slab in",
    "Hang the ceiling in",
    "Clean out",
    "Test the circuits of",
    "Caulk the joints of",
    "Paint",
    "Protect the finishes of",
];
pub(super) const DETAILS: [(&str, &str, &str); 8] = [
    (
        "Anchor spacing",
        "The detail shows anchors at two spacings. Which one holds?",
        "Use the closer one.",
    ),
    (
        "Door swing",
        "The plan and the schedule show different swings. Which is right?",
        "Follow the schedule.",
    ),
    (
        "Ceiling height",
        "The duct does not fit above the ceiling as drawn. May we lower it?",
        "Lower the ceiling by three inches.",
    ),
    (
        "Finish of the base",
        "No finish is named for the base. What is it?",
        "Match the trim.",
    ),
    (
        "Drain location",
        "The drain falls on a beam. May it move?",
        "Move it one foot to the south.",
    ),
    (
        "Blocking",
        "No blocking is shown behind the rail. Is it wanted?",
        "Yes, at every bracket.",
    ),
    (
        "Joint sealant",
        "Two sealants are specified for this joint. Which one?",
        "The silicone.",
    ),
    (
        "Access panel",
        "The valve can't be reached as drawn. May we add a panel?",
        "Add one, twelve by twelve inches.",
    ),
];
pub(super) const SUBMITTALS: [&str; 10] = [
    "Door hardware",
    "Ceiling tiles",
    "Sprinkler heads",
    "Air handlers",
    "Light fixtures",
    "Paint samples",
    "Roof insulation",
    "Window shop drawings",
    "Floor drains",
    "Masonry ties",
];
pub(super) const GOODS: [&str; 10] = [
    "Framing lumber",
    "Metal studs",
    "Gypsum board",
    "Copper pipe",
    "Wire and boxes",
    "Fasteners",
    "Sealants",
    "Plywood",
    "Rigid insulation",
    "Rebar",
];
pub(super) const EXTRAS: [&str; 6] = [
    "More outlets in",
    "Thicker insulation at",
    "Another coat on",
    "A wider door at",
    "Rock excavation under",
    "Repair of old plaster in",
];
pub(super) const MESSAGES: [(&str, &str); 8] = [
    (
        "Schedule",
        "Please send the schedule of the next two weeks.",
    ),
    (
        "Parking",
        "The neighbors ask us to keep the alley clear before eight.",
    ),
    ("Samples", "The samples are on the table in the trailer."),
    ("Inspection", "The inspector comes between nine and eleven."),
    ("Noise", "No hammering before half past seven, please."),
    ("Invoices", "The invoices of this month are on their way."),
    ("Keys", "The keys of the gate are with the office."),
    ("Visit", "We would like to walk the site on Thursday."),
];
pub(super) const DEFECTS: [&str; 8] = [
    "Scratch on the frame",
    "Paint run",
    "Door rubs",
    "Loose cover plate",
    "Chipped tile",
    "Gap at the base",
    "Stain on the ceiling",
    "Missing screw",
];
