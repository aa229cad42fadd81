//@ signals
  wire [UPDATE_WIDTH-1:0]  update;
  wire                     update_valid;
  reg                      update_ready = 1'b0;
//@ dut_ports
    .o_updates__payload(update),
    .o_updates__valid(update_valid),
    .o_updates__ready(update_ready),
//@ moves
        || update_valid && update_ready
//@ tasks
  // -- a reader of updates, which must come to know the same weights ------------------------------

  reg [ROW_WIDTH-1:0]        mirror [0:ROWS-1];
  reg [UPDATE_ROW_WIDTH-1:0] update_row;
  integer                    updates_taken = 0;
  integer                    last_updates_taken = 0;
  integer                    update_lane;

  always @(posedge clk) begin
    update_ready <= !(slow_reader && chance[25:23] != 0);
    if (update_valid && update_ready) begin
      update_row = update[UPDATE_ROW_LSB +: UPDATE_ROW_WIDTH];
      for (update_lane = 0; update_lane < LANES; update_lane = update_lane + 1)
        if (update[UPDATE_MASK_LSB + update_lane])
          mirror[update_row][update_lane*WEIGHT_WIDTH +: WEIGHT_WIDTH]
            = update[UPDATE_WEIGHTS_LSB + update_lane*WEIGHT_WIDTH +: WEIGHT_WIDTH];
      updates_taken = updates_taken + 1;
      last_updates_taken = last_updates_taken + {31'd0, update[UPDATE_LAST_LSB]};
    end
  end

//@ before
    for (row = 0; row < ROWS; row = row + 1) mirror[row] = initial_weights[row];

//@ after

    waiting_for = "an update";
    while (updates_taken != UPDATES) @(negedge clk);
    for (row = 0; row < ROWS; row = row + 1) compare_row(row, mirror[row], final_weights[row]);
    repeat (20) @(negedge clk);
    if (updates_taken != UPDATES || last_updates_taken != LAST_UPDATES) begin
      $display("FAIL: %0d updates, %0d of them the last of a burst, expected %0d and %0d",
               updates_taken, last_updates_taken, UPDATES, LAST_UPDATES);
      failures = failures + 1;
    end
