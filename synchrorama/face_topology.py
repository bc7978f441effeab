"""Which of MediaPipe's 478 face landmarks is what.

Indices are those of the MediaPipe face mesh with refined irises. "Right" and "left" are the subject's own sides, so
the right eye appears on the left of an unmirrored picture. Rings run around the feature and start at a corner.
"""

from __future__ import annotations

LANDMARKS = 478
MESH_LANDMARKS = 468  # without the two irises of five points each

OUTER_LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
)  # fmt: skip
INNER_LIPS = (
    78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95,
)  # fmt: skip
LIPS = OUTER_LIPS + INNER_LIPS
MOUTH_CORNERS = (61, 291)  # subject's right, left

# Nine columns across the mouth: (upper lip, lower lip), each from the inner rim outwards.
LIP_COLUMNS = (
    ((191, 183, 184, 185), (95, 96, 77, 146)),
    ((80, 42, 74, 40), (88, 89, 90, 91)),
    ((81, 41, 73, 39), (178, 179, 180, 181)),
    ((82, 38, 72, 37), (87, 86, 85, 84)),
    ((13, 12, 11, 0), (14, 15, 16, 17)),
    ((312, 268, 302, 267), (317, 316, 315, 314)),
    ((311, 271, 303, 269), (402, 403, 404, 405)),
    ((310, 272, 304, 270), (318, 319, 320, 321)),
    ((415, 407, 408, 409), (324, 325, 307, 375)),
)

RIGHT_EYE = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
LEFT_EYE = (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)
RIGHT_IRIS = (468, 469, 470, 471, 472)  # centre, then four points on the limbus
LEFT_IRIS = (473, 474, 475, 476, 477)

# Upper and lower lid points that face each other, from the outer to the inner corner.
RIGHT_EYELID_PAIRS = ((246, 7), (161, 163), (160, 144), (159, 145), (158, 153), (157, 154), (173, 155))
LEFT_EYELID_PAIRS = ((466, 249), (388, 390), (387, 373), (386, 374), (385, 380), (384, 381), (398, 382))
# The second and third row of points above each upper lid point, in the order of the pairs.
RIGHT_UPPER_LID_ROWS = ((247, 30, 29, 27, 28, 56, 190), (113, 225, 224, 223, 222, 221, 189))
LEFT_UPPER_LID_ROWS = ((467, 260, 259, 257, 258, 286, 414), (342, 445, 444, 443, 442, 441, 413))

FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149,
    150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip

# Corners that stay sharp when the mesh is subdivided: mouth, then the two eyes.
SHARP_CORNERS = (78, 308, 33, 133, 263, 362)

EYE_OUTER_CORNERS = (33, 263)  # their distance is the inter-ocular distance used as a unit
