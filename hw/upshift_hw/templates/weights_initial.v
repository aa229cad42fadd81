//@ before
    // The unit has its initial weights without being told.
    waiting_for = "a row to be read";
    for (row = 0; row < ROWS; row = row + 1) check_row(row, initial_weights[row]);

