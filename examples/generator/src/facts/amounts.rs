//! What things cost: change orders, purchase orders, vendor invoices and pay applications.

use super::{ALDER_SUM, MAPLE_SUM, RIVERSIDE_SUM};
use crate::money::{Bill, Item, Money, PayApplication};

const SALES_TAX: Option<(&str, i64)> = Some(("Sales tax, 6.75%", 675));
const RIVERSIDE_MARKUP: Option<(&str, i64)> =
    Some(("Contractor's markup on subcontracted work, 8%", 800));
const MAPLE_MARKUP: Option<(&str, i64)> = Some(("Contractor's markup, 12%", 1200));

const fn item(what: &'static str, quantity: i64, unit: &'static str, cents: i64) -> Item {
    Item {
        what,
        quantity,
        unit,
        price: Money(cents),
    }
}

/// Every bill a text can ask for. The change orders of one contract stand in their order.
pub const BILLS: &[Bill] = &[
    Bill {
        key: "rc-co-1",
        items: &[
            item(
                "Abatement of asbestos floor tile and mastic, rooms 108 to 114",
                1_140,
                "sq ft",
                9_75,
            ),
            item(
                "Air clearance sampling by independent hygienist",
                6,
                "sample",
                185_00,
            ),
            item("Skim coat of slab after abatement", 1_140, "sq ft", 2_10),
        ],
        surcharge: RIVERSIDE_MARKUP,
        total_label: "Total of Change Order 01",
    },
    Bill {
        key: "rc-co-2",
        items: &[
            item(
                "Hands-free sensor faucet, battery type, installed",
                12,
                "each",
                418_00,
            ),
            item(
                "Relocate sink supply and waste rough-in",
                4,
                "room",
                1_260_00,
            ),
        ],
        surcharge: RIVERSIDE_MARKUP,
        total_label: "Total of Change Order 02",
    },
    Bill {
        key: "rc-co-3",
        items: &[
            item(
                "Dedicated 20-amp emergency circuit for vaccine refrigerator",
                2,
                "circuit",
                1_875_00,
            ),
            item("Emergency panel EP-1 with breakers", 1, "each", 6_420_00),
            item("EMT conduit, 1 inch, with wire", 85, "ft", 14_60),
        ],
        surcharge: RIVERSIDE_MARKUP,
        total_label: "Total of Change Order 03",
    },
    Bill {
        key: "ms-co-1",
        items: &[
            item(
                "Rock excavation with hydraulic hammer, unit 214 footing trench",
                46,
                "cu yd",
                148_00,
            ),
            item("Haul and dispose of rock", 46, "cu yd", 22_00),
            item(
                "Site visit and letter by structural engineer",
                1,
                "visit",
                650_00,
            ),
        ],
        surcharge: MAPLE_MARKUP,
        total_label: "Total of Change Order 01",
    },
    Bill {
        key: "ms-co-2",
        items: &[item(
            "Upgrade casement window from double to triple glazing, north elevation",
            14,
            "window",
            312_00,
        )],
        surcharge: MAPLE_MARKUP,
        total_label: "Total of Change Order 02",
    },
    Bill {
        key: "ms-co-3",
        items: &[item(
            "Credit for garage storage cabinets deleted by owner",
            2,
            "cabinet run",
            -1_075_00,
        )],
        surcharge: None,
        total_label: "Total of Change Order 03 (credit to owner)",
    },
    Bill {
        key: "ac-co-1",
        items: &[item(
            "Roof deck sheathing replaced beyond the allowance, 1/2 inch CDX",
            64,
            "sheet",
            92_00,
        )],
        surcharge: None,
        total_label: "Total of Change Order 01",
    },
    Bill {
        key: "ac-co-2",
        items: &[
            item(
                "Chimney cricket, framed and flashed, building B",
                2,
                "each",
                740_00,
            ),
            item(
                "Step and counter flashing, lead-coated copper",
                38,
                "ft",
                27_50,
            ),
        ],
        surcharge: None,
        total_label: "Total of Change Order 02",
    },
    Bill {
        key: "rc-inv-kestrel",
        items: &[
            item(
                "Replace lighting panel LP-2, 42 circuits",
                1,
                "each",
                4_860_00,
            ),
            item("Exam room branch wiring, phase 1", 14, "room", 1_315_00),
            item(
                "LED troffer 2x4, furnished and installed",
                46,
                "each",
                212_00,
            ),
        ],
        surcharge: Some(("Less retainage, 7.5%", -750)),
        total_label: "Amount due on invoice KE-2291",
    },
    Bill {
        key: "rc-inv-polar",
        items: &[
            item(
                "Negative air machine rental with HEPA filter",
                3,
                "month",
                640_00,
            ),
            item("HEPA filter change, primary", 9, "each", 148_00),
            item(
                "Test and balance of isolation room 119",
                1,
                "lump sum",
                2_150_00,
            ),
            item("VAV box VAV-1-07, replace actuator", 1, "each", 735_00),
        ],
        surcharge: Some(("Less retainage, 7.5%", -750)),
        total_label: "Amount due on invoice 10448",
    },
    Bill {
        key: "rc-po-doors",
        items: &[
            item(
                "Exam room door 3-0 x 7-0, solid core red oak, 20-minute label",
                14,
                "each",
                486_00,
            ),
            item("Hollow metal frame, 16 gauge, welded", 14, "each", 198_00),
            item(
                "Lever lockset, office function, satin chrome",
                14,
                "each",
                164_00,
            ),
            item(
                "Lead-lined door for X-ray room 126, 2 lb lead",
                1,
                "each",
                3_940_00,
            ),
        ],
        surcharge: SALES_TAX,
        total_label: "Total of Purchase Order 2025-04-07",
    },
    Bill {
        key: "rc-po-casework",
        items: &[
            item(
                "Exam room base cabinet, 36 inch, plastic laminate",
                28,
                "each",
                395_00,
            ),
            item(
                "Exam room wall cabinet, 36 inch, sloped top",
                28,
                "each",
                310_00,
            ),
            item("Solid surface countertop, Arctic Birch", 168, "ft", 88_00),
            item("Nurse station casework, shop built", 2, "each", 6_875_00),
        ],
        surcharge: SALES_TAX,
        total_label: "Total of Purchase Order 2025-04-11",
    },
    Bill {
        key: "ms-po-lumber",
        items: &[
            item(
                "2x6x16 spruce-pine-fir stud grade No. 2",
                420,
                "each",
                11_85,
            ),
            item("LVL beam 1-3/4 x 11-7/8, 24 ft", 18, "each", 142_00),
            item("OSB wall sheathing 7/16 inch", 310, "sheet", 14_20),
            item(
                "Roof truss package, engineered, 24 in. on center",
                1,
                "lump sum",
                13_860_00,
            ),
            item("Boom truck delivery", 3, "trip", 95_00),
        ],
        surcharge: SALES_TAX,
        total_label: "Total of Purchase Order 2025-02-03",
    },
    Bill {
        key: "ms-po-windows",
        items: &[
            item("Casement window 30 x 60, double-glazed", 22, "each", 468_00),
            item(
                "Casement window 30 x 60, triple-glazed, north elevation",
                14,
                "each",
                780_00,
            ),
            item("Sliding patio door 6-0 x 6-8", 2, "each", 1_890_00),
        ],
        surcharge: SALES_TAX,
        total_label: "Total of Purchase Order 2025-02-06",
    },
    Bill {
        key: "ms-inv-readymix",
        items: &[
            item(
                "Footing concrete, 4,000 psi, air entrained",
                38,
                "cu yd",
                162_00,
            ),
            item("Slab concrete, 3,500 psi", 29, "cu yd", 156_00),
            item("Pump truck, half day", 1, "each", 875_00),
            item("Short-load fee, second truck", 1, "each", 120_00),
        ],
        surcharge: SALES_TAX,
        total_label: "Amount due on invoice 77310",
    },
    Bill {
        key: "ac-po-shingles",
        items: &[
            item(
                "GraniteShield 30 architectural shingle, Weathered Slate",
                615,
                "bundle",
                38_40,
            ),
            item("Synthetic underlayment, 10-square roll", 20, "roll", 89_00),
            item("Ice and water barrier, 2-square roll", 48, "roll", 74_50),
            item("Ridge vent, 4 ft section", 66, "each", 17_80),
            item("Drip edge, white aluminum, 10 ft", 118, "each", 11_25),
        ],
        surcharge: SALES_TAX,
        total_label: "Total of Purchase Order 2025-07-01",
    },
    Bill {
        key: "ac-inv-gibbs",
        items: &[
            item("Frame scaffold, per bay and week", 32, "bay-week", 46_00),
            item("Debris chute 40 ft, per week", 4, "week", 130_00),
            item("Delivery, erection and pick-up", 1, "lump sum", 980_00),
        ],
        surcharge: SALES_TAX,
        total_label: "Amount due on invoice G-5120",
    },
    Bill {
        key: "ac-final",
        items: &[
            item("Original contract sum", 1, "lump sum", ALDER_SUM.0),
            item(
                "Change Order 01, roof deck sheathing",
                1,
                "lump sum",
                5_888_00,
            ),
            item(
                "Change Order 02, chimney crickets at building B",
                1,
                "lump sum",
                2_525_00,
            ),
            item(
                "Less Payment Application 1, paid October 1, 2025",
                1,
                "lump sum",
                -ALDER_PAY_1.earned().0,
            ),
        ],
        surcharge: None,
        total_label: "Final amount due, retainage included",
    },
    Bill {
        key: "hf-co-1",
        items: &[
            item(
                "Glass office front, 10 ft panel with door",
                6,
                "each",
                1_150_00,
            ),
            item("Acoustic seal kit", 6, "each", 84_00),
        ],
        surcharge: Some(("Markup, 10%", 1000)),
        total_label: "Total of Change Order 1",
    },
];

/// Every pay application a text can ask for.
pub const PAY_APPLICATIONS: &[&PayApplication] = &[
    &RIVERSIDE_PAY_1,
    &RIVERSIDE_PAY_2,
    &RIVERSIDE_PAY_3,
    &MAPLE_PAY_1,
    &MAPLE_PAY_2,
    &MAPLE_PAY_3,
    &ALDER_PAY_1,
];

const fn pay(
    key: &'static str,
    contract_sum: i64,
    completed: i64,
    retainage: (&'static str, i64),
    previous: Option<&'static PayApplication>,
) -> PayApplication {
    PayApplication {
        key,
        previous,
        contract_sum: Money(contract_sum),
        completed: Money(completed),
        retainage_basis_points: retainage.1,
        retainage_label: retainage.0,
    }
}

const RIVERSIDE_RETAINAGE: (&str, i64) = ("7.5%", 750);
const MAPLE_RETAINAGE: (&str, i64) = ("10%", 1000);
/// Riverside's contract sum once Change Order 01 was approved in July.
const RIVERSIDE_SUM_1: i64 = RIVERSIDE_SUM.0 + 15_788_52;
/// And after Change Order 02 in September.
const RIVERSIDE_SUM_2: i64 = RIVERSIDE_SUM_1 + 10_860_48;
const MAPLE_SUM_1: i64 = MAPLE_SUM.0 + 9_486_40;

const RIVERSIDE_PAY_1: PayApplication = pay(
    "rc-1",
    RIVERSIDE_SUM_1,
    142_600_00,
    RIVERSIDE_RETAINAGE,
    None,
);
const RIVERSIDE_PAY_2: PayApplication = pay(
    "rc-2",
    RIVERSIDE_SUM_1,
    311_850_00,
    RIVERSIDE_RETAINAGE,
    Some(&RIVERSIDE_PAY_1),
);
const RIVERSIDE_PAY_3: PayApplication = pay(
    "rc-3",
    RIVERSIDE_SUM_2,
    478_300_00,
    RIVERSIDE_RETAINAGE,
    Some(&RIVERSIDE_PAY_2),
);
const MAPLE_PAY_1: PayApplication = pay("ms-1", MAPLE_SUM.0, 61_200_00, MAPLE_RETAINAGE, None);
const MAPLE_PAY_2: PayApplication = pay(
    "ms-2",
    MAPLE_SUM_1,
    148_750_00,
    MAPLE_RETAINAGE,
    Some(&MAPLE_PAY_1),
);
const MAPLE_PAY_3: PayApplication = pay(
    "ms-3",
    MAPLE_SUM_1,
    236_400_00,
    MAPLE_RETAINAGE,
    Some(&MAPLE_PAY_2),
);
const ALDER_PAY_1: PayApplication = pay("ac-1", ALDER_SUM.0, 118_300_00, ("5%", 500), None);
